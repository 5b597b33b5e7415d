package api

import (
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// acts are the actions that the audit log has for operations that change something. A test holds each operation to its own.
var acts = map[string]string{
	"login": audit.SessionOpen, "logout": audit.SessionEnd, "endSession": audit.SessionEnd, "signUp": audit.UserSignUp,
	"updateMe": audit.UserChange, "changePassword": audit.UserPassword,
	"createToken": audit.TokenCreate, "revokeToken": audit.TokenRevoke,
	"createProject": audit.ProjectCreate, "updateProject": audit.ProjectChange, "deleteProject": audit.ProjectDelete,
	"restoreProject": audit.ProjectRestore, "claimProject": audit.ProjectClaim,
	"suspendProject": audit.ProjectSuspend, "resumeProject": audit.ProjectResume,
	"addMember": audit.MemberAdd, "updateMember": audit.MemberChange, "removeMember": audit.MemberRemove,
	"createRobot": audit.RobotCreate, "revokeRobot": audit.RobotRevoke,
	"createRunner": audit.RunnerCreate, "grantRunner": audit.RunnerGrant, "removeRunner": audit.RunnerRemove,
	"createServerRunner": audit.RunnerCreate, "revokeServerRunner": audit.RunnerRemove,
	"createUser": audit.UserCreate, "updateUser": audit.UserChange,
	"createInvite": audit.InviteCreate, "revokeInvite": audit.InviteRevoke,
	"deleteRepository": audit.RepositoryDelete, "restoreRepository": audit.RepositoryRestore,
	"deleteManifest": audit.ManifestDelete, "restoreManifest": audit.ManifestRestore,
	"deleteTag": audit.TagDelete, "restoreTag": audit.TagRestore,
	"createTagRule": audit.TagRuleCreate, "deleteTagRule": audit.TagRuleDelete,
	"createRetentionRule": audit.RetentionRuleCreate, "replaceRetentionRule": audit.RetentionRuleChange,
	"deleteRetentionRule": audit.RetentionRuleDelete,
	"setLimits":           audit.LimitsChange, "blockDigest": audit.DigestBlock, "unblockDigest": audit.DigestUnblock,
	"startCollection": audit.CollectionRun, "startScrub": audit.ScrubRun,
	"createWebhook": audit.WebhookCreate, "updateWebhook": audit.WebhookChange, "deleteWebhook": audit.WebhookDelete,
	"rotateWebhookSecret": audit.WebhookRotate, "pingWebhook": audit.WebhookPing, "redeliverWebhookDelivery": audit.WebhookRedeliver,
}

// previewRetention has a body, and so is a POST; it changes nothing.
const previewRetention = "previewRetention"

// ActOf is the action that the audit log has for an operation of the contract. Operations that read share one.
func ActOf(method, operation string) string {
	if method == http.MethodGet || operation == previewRetention {
		return audit.APIRead
	}
	if act, ok := acts[operation]; ok {
		return act
	}
	return audit.APIChange
}

// origin is who asks, for the audit log.
func (c *call) origin(r *http.Request) audit.Origin {
	o := c.credential.Origin()
	o.RemoteIP, o.UserAgent, o.RequestID = c.remoteIP, c.userAgent, reqlog.ID(r.Context())
	return o
}

// beginChange tells those who write the audit log who asks. Reads have no entries, and do not pay for it.
func beginChange(c *gin.Context) {
	if c.Request.Method != http.MethodGet {
		c.Request = c.Request.WithContext(audit.With(c.Request.Context(), callOf(c.Request.Context()).origin(c.Request)))
	}
}

// noteRefusal notes, when a request has been answered, for the audit log that it was refused.
func (a *API) noteRefusal(c *gin.Context) {
	c.Next()
	one, ok := c.Request.Context().Value(callKey{}).(*call)
	if !ok || one.failure == nil {
		return
	}
	answer := problemOf(one.failure)
	bare := one.op.rule != ruleOpen && len(c.Request.Header["Authorization"]) == 0 // a challenge refuses nothing
	switch {
	case answer.Status == http.StatusForbidden, one.hidden:
	case answer.Status == http.StatusUnauthorized && !bare:
	case errors.Is(one.failure, auth.ErrInvalidCredential): // a wrong current password
	default:
		return
	}
	reason := answer.Detail
	if errors.Is(one.failure, auth.ErrInvalidCredential) {
		reason = one.failure.Error()
	}
	a.refusals.Refused(audit.Refusal{
		Origin: one.origin(c.Request), Action: ActOf(one.op.route.Method, one.op.id), Operation: one.op.id,
		Project: one.project.ID, Reason: reason,
	})
}
