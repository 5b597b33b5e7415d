package api

import (
	"context"
	"net/url"

	"github.com/berthregistry/berth/internal/api/apigen"
	"github.com/berthregistry/berth/internal/events"
	"github.com/berthregistry/berth/internal/events/webhooks"
)

// ListWebhooks implements the operation listWebhooks.
func (a *API) ListWebhooks(ctx context.Context, request apigen.ListWebhooksRequestObject) (apigen.ListWebhooksResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	hooks, err := a.webhooks.List(ctx, callOf(ctx).project.ID, p.request())
	if err != nil {
		return nil, err
	}
	hooks, link := cut(p, hooks, func(w webhooks.Webhook) string { return w.ID.String() }, nil)
	return apigen.ListWebhooks200JSONResponse{
		Body: apigen.WebhookList{Items: each(hooks, webhookOf)}, Headers: apigen.ListWebhooks200ResponseHeaders{Link: link},
	}, nil
}

// CreateWebhook implements the operation createWebhook.
func (a *API) CreateWebhook(ctx context.Context, request apigen.CreateWebhookRequestObject) (apigen.CreateWebhookResponseObject, error) {
	one, body := callOf(ctx), request.Body
	secret, hook, err := a.webhooks.Create(ctx, one.guard, webhooks.NewWebhook{
		Project: one.project.ID, URL: body.URL, Description: valueOf(body.Description), Events: kindsFrom(body.Events),
		Secret: valueOf(body.Secret), CreatedBy: one.user().String(),
	})
	if err != nil {
		return nil, err
	}
	return apigen.CreateWebhook201JSONResponse{
		Body: apigen.CreatedWebhook{Secret: secret, Webhook: webhookOf(hook)},
		Headers: apigen.CreateWebhook201ResponseHeaders{
			ETag: etag(hook.Version), Location: optional(projectPath(one.project) + "/webhooks/" + hook.ID.String()),
		},
	}, nil
}

// GetWebhook implements the operation getWebhook.
func (a *API) GetWebhook(ctx context.Context, request apigen.GetWebhookRequestObject) (apigen.GetWebhookResponseObject, error) {
	hook, err := a.webhooks.Get(ctx, callOf(ctx).project.ID, request.Webhook)
	if err != nil {
		return nil, err
	}
	return apigen.GetWebhook200JSONResponse{
		Body: webhookOf(hook), Headers: apigen.GetWebhook200ResponseHeaders{ETag: etag(hook.Version)},
	}, nil
}

// UpdateWebhook implements the operation updateWebhook.
func (a *API) UpdateWebhook(ctx context.Context, request apigen.UpdateWebhookRequestObject) (apigen.UpdateWebhookResponseObject, error) {
	version, err := ifMatch(request.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	one, body := callOf(ctx), request.Body
	change := webhooks.Change{URL: body.URL, Description: body.Description, Enabled: body.Enabled}
	if body.Events != nil {
		kinds := kindsFrom(*body.Events)
		change.Events = &kinds
	}
	hook, err := a.webhooks.Change(ctx, one.guard, one.project.ID, request.Webhook, change, version)
	if err != nil {
		return nil, err
	}
	return apigen.UpdateWebhook200JSONResponse{
		Body: webhookOf(hook), Headers: apigen.UpdateWebhook200ResponseHeaders{ETag: etag(hook.Version)},
	}, nil
}

// DeleteWebhook implements the operation deleteWebhook.
func (a *API) DeleteWebhook(ctx context.Context, request apigen.DeleteWebhookRequestObject) (apigen.DeleteWebhookResponseObject, error) {
	version, err := ifMatch(request.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	one := callOf(ctx)
	return apigen.DeleteWebhook204Response{}, a.webhooks.Delete(ctx, one.guard, one.project.ID, request.Webhook, version)
}

// RotateWebhookSecret implements the operation rotateWebhookSecret.
func (a *API) RotateWebhookSecret(
	ctx context.Context, request apigen.RotateWebhookSecretRequestObject,
) (apigen.RotateWebhookSecretResponseObject, error) {
	version, err := ifMatch(request.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	one := callOf(ctx)
	secret, hook, err := a.webhooks.Rotate(ctx, one.guard, one.project.ID, request.Webhook, valueOf(request.Body.Secret), version)
	if err != nil {
		return nil, err
	}
	return apigen.RotateWebhookSecret200JSONResponse{
		Body:    apigen.CreatedWebhook{Secret: secret, Webhook: webhookOf(hook)},
		Headers: apigen.RotateWebhookSecret200ResponseHeaders{ETag: etag(hook.Version)},
	}, nil
}

// PingWebhook implements the operation pingWebhook.
func (a *API) PingWebhook(ctx context.Context, request apigen.PingWebhookRequestObject) (apigen.PingWebhookResponseObject, error) {
	one := callOf(ctx)
	delivery, err := a.webhooks.Ping(ctx, one.guard, one.project.ID, request.Webhook, one.user().String())
	if err != nil {
		return nil, err
	}
	return apigen.PingWebhook202JSONResponse(deliveryOf(delivery)), nil
}

// ListWebhookDeliveries implements the operation listWebhookDeliveries.
func (a *API) ListWebhookDeliveries(
	ctx context.Context, request apigen.ListWebhookDeliveriesRequestObject,
) (apigen.ListWebhookDeliveriesResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	state, query := webhooks.State(valueOf(request.Params.State)), url.Values{}
	if state != "" {
		query.Set("state", string(state))
	}
	deliveries, err := a.webhooks.Deliveries(ctx, callOf(ctx).project.ID, request.Webhook, state, p.request())
	if err != nil {
		return nil, err
	}
	deliveries, link := cut(p, deliveries, webhooks.Delivery.Key, query)
	return apigen.ListWebhookDeliveries200JSONResponse{
		Body:    apigen.WebhookDeliveryList{Items: each(deliveries, deliveryOf)},
		Headers: apigen.ListWebhookDeliveries200ResponseHeaders{Link: link},
	}, nil
}

// RedeliverWebhookDelivery implements the operation redeliverWebhookDelivery.
func (a *API) RedeliverWebhookDelivery(
	ctx context.Context, request apigen.RedeliverWebhookDeliveryRequestObject,
) (apigen.RedeliverWebhookDeliveryResponseObject, error) {
	one := callOf(ctx)
	delivery, err := a.webhooks.Redeliver(ctx, one.guard, one.project.ID, request.Webhook, request.Delivery)
	if err != nil {
		return nil, err
	}
	return apigen.RedeliverWebhookDelivery202JSONResponse(deliveryOf(delivery)), nil
}

func kindsFrom(list []apigen.WebhookEvent) []events.Kind {
	return each(list, func(e apigen.WebhookEvent) events.Kind { return events.Kind(e) })
}

func webhookOf(w webhooks.Webhook) apigen.Webhook {
	return apigen.Webhook{
		ID: w.ID, URL: w.URL, Description: w.Description, Enabled: w.Enabled, DisabledReason: optional(w.DisabledReason),
		Events:       each(w.Events, func(k events.Kind) apigen.WebhookEvent { return apigen.WebhookEvent(k) }),
		FailingSince: optionalTime(w.FailingSince), PreviousSecretUntil: optionalTime(w.PreviousSecretUntil),
		CreatedBy: w.CreatedBy, CreatedAt: w.CreatedAt.UTC(), UpdatedAt: w.UpdatedAt.UTC(),
	}
}

func deliveryOf(d webhooks.Delivery) apigen.WebhookDelivery {
	return apigen.WebhookDelivery{
		ID: d.ID, Event: string(d.Kind), Object: d.Object, State: apigen.WebhookDeliveryState(d.State), Attempts: d.Attempts,
		Status: optional(d.Status), Error: optional(d.Error), NextAttemptAt: optionalTime(d.NextAttemptAt),
		CreatedAt: d.CreatedAt.UTC(), FinishedAt: optionalTime(d.FinishedAt),
	}
}
