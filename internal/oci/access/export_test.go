package access

import "net/http"

// Authenticate is Identify with the answers that clients get.
func (a *Access) Authenticate(r *http.Request, need ...Scope) (Identity, error) {
	id, err := a.Identify(r)
	if err != nil {
		return Identity{}, a.Refuse(err, need...)
	}
	return id, nil
}
