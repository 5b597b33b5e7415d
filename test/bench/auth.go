package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
)

// authorizer does what a registry asks of its clients: nothing, Basic, or bearer tokens of a token server. It learns that
// from the challenge, so that it has a token before the first request that needs it.
type authorizer struct {
	base           string
	user, password string // both empty: nobody
	http           *http.Client
	basic          bool
	realm, service string // of the token server; empty: there is none

	mu     sync.Mutex
	tokens map[string]bearer // by repository
}

// bearer is a token and when to ask for the next one.
type bearer struct {
	token string
	renew time.Time
}

const (
	// tokenLife is that of a token that does not tell its own, as the specification of tokens says.
	tokenLife = time.Minute
	// renewAfter is the part of its life after which a token is renewed.
	renewAfter = 0.8
)

// newAuthorizer asks a registry what it wants.
func newAuthorizer(ctx context.Context, base, user, password string) (*authorizer, error) {
	a := &authorizer{base: base, user: user, password: password, http: newHTTPClient(smallBuffer), tokens: map[string]bearer{}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v2/", nil)
	if err != nil {
		return nil, fmt.Errorf("ask for the challenge: %w", err)
	}
	answer, err := a.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("ask for the challenge: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	switch answer.StatusCode {
	case http.StatusOK:
		a.basic = user != "" // it lets anybody in, and may still know users
		return a, nil
	case http.StatusUnauthorized:
		err := a.learn(answer.Header.Values("WWW-Authenticate"))
		return a, err
	}
	return nil, fmt.Errorf("%s/v2/ answers %s: no registry", base, answer.Status)
}

// challengeParameter is one of a challenge's.
var challengeParameter = regexp.MustCompile(`(\w+)="([^"]*)"`)

// learn reads challenges. A token server comes first.
func (a *authorizer) learn(challenges []string) error {
	for _, challenge := range challenges {
		scheme, rest, _ := strings.Cut(challenge, " ")
		switch strings.ToLower(scheme) {
		case "bearer":
			for _, parameter := range challengeParameter.FindAllStringSubmatch(rest, -1) {
				switch strings.ToLower(parameter[1]) {
				case "realm":
					a.realm = parameter[2]
				case "service":
					a.service = parameter[2]
				}
			}
			if a.realm != "" {
				a.basic = false
				return nil
			}
		case "basic":
			a.basic = true
		}
	}
	if !a.basic {
		return fmt.Errorf("the registry wants %q, which is neither Basic nor Bearer", challenges)
	}
	if a.user == "" {
		return errors.New("the registry wants a user: give -user and -password")
	}
	return nil
}

// sign adds what the registry wants for a repository. Another host, to which an upload may go, gets nothing.
func (a *authorizer) sign(r *http.Request, repository string) error {
	switch {
	case !strings.HasPrefix(r.URL.String(), a.base+"/"):
		return nil
	case a.realm == "" && a.basic:
		r.SetBasicAuth(a.user, a.password)
		return nil
	case a.realm == "":
		return nil
	}
	token, err := a.token(r.Context(), repository)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return nil
}

// token is a token for a repository that is still good for a while.
func (a *authorizer) token(ctx context.Context, repository string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if known, ok := a.tokens[repository]; ok && time.Now().Before(known.renew) {
		return known.token, nil
	}
	made, err := a.fetch(ctx, repository)
	if err != nil {
		return "", err
	}
	a.tokens[repository] = made
	return made.token, nil
}

// fetch asks the token server for a new token.
func (a *authorizer) fetch(ctx context.Context, repository string) (bearer, error) {
	query := url.Values{"scope": {"repository:" + repository + ":pull,push"}}
	if a.service != "" {
		query.Set("service", a.service)
	}
	separator := "?"
	if strings.Contains(a.realm, "?") {
		separator = "&"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.realm+separator+query.Encode(), nil)
	if err != nil {
		return bearer{}, fmt.Errorf("ask for a token: %w", err)
	}
	if a.user != "" {
		r.SetBasicAuth(a.user, a.password)
	}
	asked := time.Now()
	answer, err := a.http.Do(r)
	if err != nil {
		return bearer{}, fmt.Errorf("ask for a token: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return bearer{}, fmt.Errorf("ask for a token: %w", err)
	}
	var told struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if answer.StatusCode != http.StatusOK || json.Unmarshal(body, &told) != nil || told.Token+told.AccessToken == "" {
		return bearer{}, fmt.Errorf("ask for a token: status %s, no token", answer.Status)
	}
	if told.Token == "" {
		told.Token = told.AccessToken
	}
	life := tokenLife
	if told.ExpiresIn > 0 {
		life = time.Duration(told.ExpiresIn) * time.Second
	}
	return bearer{told.Token, asked.Add(time.Duration(float64(life) * renewAfter))}, nil
}
