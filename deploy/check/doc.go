// Package check holds the files below deploy/ to what they are for: the chart to the Kubernetes API, the compose file
// and the Dockerfile to their own languages, the unit to systemd. It has no other code, and is a module of its own, so
// that what it needs stays out of the program's (docs/adr).
package check
