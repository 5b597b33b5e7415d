package webhooks

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/berthregistry/berth/internal/events"
)

// payload is the body of a request, as the Standard Webhooks specification has it.
type payload struct {
	Type      events.Kind    `json:"type"`
	Timestamp time.Time      `json:"timestamp"`
	Data      map[string]any `json:"data"`
}

// body is what a receiver gets for an event: the same bytes at each attempt, unless the project's slug has changed.
func (e *due) body(h *claimed) ([]byte, error) {
	data := map[string]any{}
	decoder := json.NewDecoder(strings.NewReader(e.data))
	decoder.UseNumber()
	if err := decoder.Decode(&data); err != nil {
		return nil, fmt.Errorf("webhooks: the data of event %s: %w", e.id, err)
	}
	data["project"] = map[string]any{"id": h.project, "slug": h.slug}
	if e.kind == events.TagMoved || e.kind == events.TagDeleted {
		repository, _ := data["repository"].(string)
		data["tag"] = strings.TrimPrefix(e.object, events.TagObject(repository, ""))
		data["previous_digest"] = e.previousDigest
	}
	content, err := json.Marshal(payload{Type: e.kind, Timestamp: e.createdAt.UTC(), Data: data})
	if err != nil {
		return nil, fmt.Errorf("webhooks: the payload of event %s: %w", e.id, err)
	}
	return content, nil
}
