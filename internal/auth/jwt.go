package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/rbac"
)

const (
	// tokenType says in a token's header what it is for (RFC 8725, section 3.11), so that no other kind of token of
	// this server passes for it.
	tokenType = "berth-registry+jwt"
	// maxToken bounds what is parsed. Servers in front of Berth rarely let longer headers pass.
	maxToken = 16 << 10
	// skew is how far the clocks of replicas may differ: a token is valid a little before it was issued.
	skew = 30 * time.Second
)

// tokenClaims is the payload of a bearer token.
type tokenClaims struct {
	jwt.RegisteredClaims

	TokenID string   `json:"berth_token,omitempty"` // the credential; anonymous has none
	Access  []Access `json:"access"`
}

// verifiedToken is what a token proves, whatever became of its credential since.
type verifiedToken struct {
	tokenID uuid.UUID // Nil: anonymous
	subject string
	access  []Access
	expires time.Time
}

// IssueJWT signs a bearer token for a credential, narrowed to access. It expires no later than the credential. Errors:
// ErrInvalidCredential, ErrInvalidInput for too much access, the context's and the database's.
func (s *Service) IssueJWT(ctx context.Context, c Credential, access []Access) (raw string, issued, expires time.Time, err error) {
	anonymous := c.Principal.Kind == rbac.KindAnonymous
	if anonymous != (c.TokenID == uuid.Nil) || c.expired(s.now()) {
		return "", time.Time{}, time.Time{}, fmt.Errorf("auth: %w: no token can be issued for it", ErrInvalidCredential)
	}
	key, err := s.signingKey(ctx, purposeToken)
	if err != nil {
		return "", time.Time{}, time.Time{}, err
	}
	issued = s.now().Truncate(time.Second)
	expires = issued.Add(s.opts.TokenTTL)
	for _, limit := range []time.Time{c.ExpiresAt, key.verifiesUntil} {
		if !limit.IsZero() && limit.Before(expires) {
			expires = limit.Truncate(time.Second)
		}
	}
	if !issued.Before(expires) {
		return "", time.Time{}, time.Time{}, fmt.Errorf("auth: %w: it expires within a second", ErrInvalidCredential)
	}
	claims := tokenClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: s.opts.Issuer, Audience: jwt.ClaimStrings{s.opts.Service}, Subject: c.Principal.String(), ID: newID().String(),
			IssuedAt: jwt.NewNumericDate(issued), NotBefore: jwt.NewNumericDate(issued.Add(-skew)), ExpiresAt: jwt.NewNumericDate(expires),
		},
		Access: slices.Concat([]Access{}, access), // never null
	}
	if !anonymous {
		claims.TokenID = c.TokenID.String()
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	token.Header["typ"], token.Header["kid"] = tokenType, key.kid
	if raw, err = token.SignedString(key.private()); err != nil {
		return "", time.Time{}, time.Time{}, fmt.Errorf("auth: sign a token: %w", err)
	}
	if len(raw) > maxToken {
		return "", time.Time{}, time.Time{}, fmt.Errorf("auth: %w: too many scopes for one token", ErrInvalidInput)
	}
	return raw, issued, expires, nil
}

// VerifyJWT gives what a bearer token means now: its signature and times are checked, then its credential is looked up.
// Errors: ErrInvalidToken (with ErrInvalidCredential when it is the credential that became invalid), the context's and
// the database's.
func (s *Service) VerifyJWT(ctx context.Context, raw string) (Claims, error) {
	if len(raw) > maxToken {
		return Claims{}, fmt.Errorf("auth: %w: too long", ErrInvalidToken)
	}
	if strings.ContainsAny(raw, "\r\n") { // which base64 decoders pass over
		return Claims{}, fmt.Errorf("auth: %w: broken into lines", ErrInvalidToken)
	}
	t, err := s.verified.Get(ctx, hashSecret(raw), func(ctx context.Context) (verifiedToken, error) {
		return s.parseToken(ctx, raw)
	})
	if err != nil {
		return Claims{}, err
	}
	if !s.now().Before(t.expires) {
		return Claims{}, fmt.Errorf("auth: %w: expired", ErrInvalidToken)
	}
	c := Credential{Principal: Anonymous()}
	if t.tokenID != uuid.Nil {
		if c, err = s.Lookup(ctx, t.tokenID); errors.Is(err, ErrInvalidCredential) {
			return Claims{}, fmt.Errorf("%w: %w", ErrInvalidToken, err)
		} else if err != nil {
			return Claims{}, err
		}
	}
	if c.Principal.String() != t.subject {
		return Claims{}, fmt.Errorf("auth: %w: the credential is not the subject's", ErrInvalidToken)
	}
	return Claims{Credential: c, Access: cloneAccess(t.access), Expires: t.expires}, nil
}

// parseToken checks all that a token says of itself.
func (s *Service) parseToken(ctx context.Context, raw string) (verifiedToken, error) {
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithStrictDecoding(),
		jwt.WithIssuer(s.opts.Issuer), jwt.WithAudience(s.opts.Service),
		jwt.WithExpirationRequired(), jwt.WithNotBeforeRequired(), jwt.WithTimeFunc(s.now),
	)
	var claims tokenClaims
	var broken error // what kept the key from being read
	_, err := parser.ParseWithClaims(raw, &claims, func(t *jwt.Token) (any, error) {
		kid, err := keyID(t.Header)
		if err != nil {
			return nil, err
		}
		key, err := s.verifyingKey(ctx, keyName{purposeToken, kid})
		if err != nil {
			if !errors.Is(err, ErrUnknownKey) {
				broken = err
			}
			return nil, err
		}
		return key.public(), nil
	})
	if broken != nil {
		return verifiedToken{}, broken
	}
	if err != nil {
		return verifiedToken{}, fmt.Errorf("auth: %w: %w", ErrInvalidToken, err)
	}
	return s.checkClaims(claims)
}

// keyID takes only headers that IssueJWT writes: anything more, such as crit or jwk, would ask for something.
func keyID(header map[string]any) (string, error) {
	kid, _ := header["kid"].(string)
	if len(header) != 3 || header["typ"] != tokenType || kid == "" {
		return "", errors.New("the header is not that of a bearer token")
	}
	return kid, nil
}

func (s *Service) checkClaims(claims tokenClaims) (verifiedToken, error) {
	if claims.IssuedAt == nil || claims.IssuedAt.After(s.now().Add(skew)) || !claims.IssuedAt.Before(claims.ExpiresAt.Time) {
		return verifiedToken{}, fmt.Errorf("auth: %w: iat is missing or wrong", ErrInvalidToken)
	}
	t := verifiedToken{subject: claims.Subject, access: claims.Access, expires: claims.ExpiresAt.Time}
	if claims.TokenID == "" {
		if claims.Subject != Anonymous().String() {
			return verifiedToken{}, fmt.Errorf("auth: %w: no credential", ErrInvalidToken)
		}
		return t, nil
	}
	id, err := uuid.Parse(claims.TokenID)
	if err != nil || id == uuid.Nil {
		return verifiedToken{}, fmt.Errorf("auth: %w: malformed credential", ErrInvalidToken)
	}
	t.tokenID = id
	return t, nil
}
