// Package access answers two questions for the OCI plane: who is asking, and may they do this now.
//
// Identify turns an Authorization header into an Identity. Authorize asks the policy with the current state of the
// project and of the caller's role, and answers in the words of the token protocol: a challenge that names the scope
// a client needs, a denial, or the same "unknown" that a project gets which does not exist. The token endpoint that
// the challenge points to lives here too, since a grant is the same decision taken a little earlier.
//
// Grants narrow what a registry token may do to less than its owner may, and are applied wherever the policy is asked:
// a bearer token that was traded for such a token is looked at with the grants of that token, whatever its scope says.
//
// A bearer token narrows: its scope can take rights away from its holder, never add one. The order of the questions is
// policy first, scope second. A signed-in caller whom the policy denies therefore sees the same answer whatever the
// token's scope is, and is asked for a wider token only where a wider token would help.
//
// Nothing below the project is looked up before the decision, so an answer cannot depend on the content of a project
// that the caller may not read. That a project's name is taken cannot be hidden from those who may create one: they
// would learn it by creating it.
package access
