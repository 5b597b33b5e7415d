package auth

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/rbac"
)

// Principal is who asks.
type Principal struct {
	Kind      rbac.Kind
	ID        uuid.UUID // the user, or the token of a robot or runner; Nil for anonymous
	Admin     bool      // of a user
	AccountID uuid.UUID // the personal account of a user
	Name      string    // e-mail or token name, for logs
}

// Anonymous is the principal without a credential.
func Anonymous() Principal { return Principal{Kind: rbac.KindAnonymous} }

// String is how the database stores a principal: "anonymous", "user:<uuid>", "robot:<uuid>" or "runner:<uuid>".
func (p Principal) String() string {
	if p.Kind == rbac.KindAnonymous || p.Kind == "" {
		return string(rbac.KindAnonymous)
	}
	return string(p.Kind) + ":" + p.ID.String()
}

// Credential is a principal and the token or session that it showed.
type Credential struct {
	Principal Principal
	TokenID   uuid.UUID // Nil for anonymous and for a session
	SessionID uuid.UUID // of a session of the product API; else Nil
	ProjectID uuid.UUID // of a robot, and of a runner that belongs to one project
	Role      rbac.Role // of a robot in its project: developer if it may push, else viewer
	Grants    *Grants   // nil: all that the principal may do. Shared by all who hold the credential: read only
	ExpiresAt time.Time // zero: never
}

// Origin is the credential as the audit log names who asks.
func (c Credential) Origin() audit.Origin {
	return audit.Origin{Actor: c.Principal.String(), Token: c.TokenID, Session: c.SessionID}
}

// expired reports whether the credential's time is over.
func (c Credential) expired(now time.Time) bool {
	return !c.ExpiresAt.IsZero() && !now.Before(c.ExpiresAt)
}

// Access is one entry of the access claim, which narrows a bearer token.
type Access struct {
	Type    string   `json:"type"` // repository or registry
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// cloneAccess copies entries with their actions, so that no caller can change what another one holds.
func cloneAccess(access []Access) []Access {
	cloned := slices.Clone(access)
	for i := range cloned {
		cloned[i].Actions = slices.Clone(cloned[i].Actions)
	}
	return cloned
}

// Claims is what a valid bearer token means now.
type Claims struct {
	Credential Credential // in its current state, not as it was when the token was issued
	Access     []Access
	Expires    time.Time
}
