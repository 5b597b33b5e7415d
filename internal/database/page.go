package database

// Page says which part of a list is wanted: at most Limit items that come after the one whose key is After. An empty
// After is the start of the list. What the key is, each list says.
type Page struct {
	After string
	Limit int
}
