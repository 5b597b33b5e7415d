// Package archtest holds the tests of the code's structure: who may import whom, how long a file may be, and what a
// test must not do. It has no other code.
package archtest
