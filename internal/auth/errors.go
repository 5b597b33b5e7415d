package auth

import (
	"errors"
	"fmt"
)

// What can be wrong with a request. Errors of the database pass through unchanged in their chain, so none of these is
// ever said because the database is down.
var (
	// ErrInvalidCredential: the secret or password is wrong, unknown, revoked or expired, or its owner is locked.
	ErrInvalidCredential = errors.New("invalid credential")
	// ErrInvalidToken: the bearer token is malformed, forged, expired or not meant for this server, or its credential
	// is invalid by now.
	ErrInvalidToken = errors.New("invalid bearer token")
	// ErrExists: there is such a user or secret already.
	ErrExists = errors.New("exists already")
	// ErrNotFound: there is no such user, token, session, invite or project, or not for who asks.
	ErrNotFound = errors.New("not found")
	// ErrInvalidInput: an e-mail address, password, name, secret or grant does not have the form that is asked for. An
	// InputError in the chain names the field.
	ErrInvalidInput = errors.New("invalid input")
	// ErrUnknownKey: no signing key has this id, or it is out of use.
	ErrUnknownKey = errors.New("unknown signing key")
	// ErrRevoked: the credential that a change rests on was revoked or has expired, or its owner was locked out.
	ErrRevoked = errors.New("the credential is no longer valid")
	// ErrVersion: what was to be changed has changed since it was read.
	ErrVersion = errors.New("changed in the meantime")
	// ErrLastAdmin: nobody could administrate the server any more.
	ErrLastAdmin = errors.New("the last administrator")
	// ErrBusy: too much is asked of the server at this moment; the same may succeed in some seconds.
	ErrBusy = errors.New("busy")
	// ErrNotAdmin: the caller is no administrator, or no longer.
	ErrNotAdmin = errors.New("not an administrator")
	// ErrSignUpClosed: nobody can sign up on this server.
	ErrSignUpClosed = errors.New("sign-up is closed")
	// ErrInvite: the invite is unknown, used, revoked or expired, or for another e-mail address.
	ErrInvite = errors.New("invalid invite")
)

// InputError is an ErrInvalidInput and the field that it is about.
type InputError struct {
	Field  string // as the product API names it: email, grants.tags[2]
	Reason string
}

// Error implements error.
func (e *InputError) Error() string {
	return fmt.Sprintf("%v: %s: %s", ErrInvalidInput, e.Field, e.Reason)
}

// Unwrap gives ErrInvalidInput.
func (e *InputError) Unwrap() error { return ErrInvalidInput }

func invalid(field, reason string) error { return &InputError{Field: field, Reason: reason} }
