package audit

// What is done. The table in docs/audit.md says what each means; a test holds the two together.
const (
	ProjectCreate  = "project.create"
	ProjectChange  = "project.change"
	ProjectDelete  = "project.delete"
	ProjectRestore = "project.restore"
	ProjectClaim   = "project.claim"
	ProjectSuspend = "project.suspend"
	ProjectResume  = "project.resume"
	ProjectExpire  = "project.expire"

	MemberAdd    = "member.add"
	MemberChange = "member.change"
	MemberRemove = "member.remove"

	RobotCreate  = "robot.create"
	RobotRevoke  = "robot.revoke"
	RunnerCreate = "runner.create"
	RunnerGrant  = "runner.grant"
	RunnerRemove = "runner.remove"
	TokenCreate  = "token.create"
	TokenRevoke  = "token.revoke"

	UserCreate   = "user.create"
	UserSignUp   = "user.sign_up"
	UserChange   = "user.change"
	UserPassword = "user.password"
	InviteCreate = "invite.create"
	InviteRevoke = "invite.revoke"
	SessionOpen  = "session.open"
	SessionEnd   = "session.end"

	ManifestPush   = "manifest.push"
	ManifestDelete = "manifest.delete"
	TagDelete      = "tag.delete"
	BlobDelete     = "blob.delete"
	DigestBlock    = "digest.block"
	DigestUnblock  = "digest.unblock"

	WebhookCreate    = "webhook.create"
	WebhookChange    = "webhook.change"
	WebhookRotate    = "webhook.rotate"
	WebhookPing      = "webhook.ping"
	WebhookRedeliver = "webhook.redeliver"
	WebhookDelete    = "webhook.delete"

	// What follows changes nothing, and has entries only when it is refused.
	RegistryCheck = "registry.check"
	CatalogList   = "catalog.list"
	ManifestPull  = "manifest.pull"
	BlobPull      = "blob.pull"
	BlobPush      = "blob.push"
	TagList       = "tag.list"
	ReferrerList  = "referrer.list"
	BearerIssue   = "bearer.issue"
	APIRead       = "api.read"
	APIChange     = "api.change"
)
