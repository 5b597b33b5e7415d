package main

import (
	"fmt"
	"io"
	"net/http"

	"github.com/berthregistry/berth/client"
)

type projectListCommand struct {
	remoteFlags `embed:""`

	State  string `enum:"unclaimed,active,suspended,deleted," default:"" placeholder:"STATE" help:"Only those in this state: unclaimed, active, suspended or deleted. Default: all but deleted ones."`
	Prefix string `placeholder:"TEXT" help:"Only those whose name begins so."`
	All    bool   `help:"All projects of the server; for admins."`
}

// Run lists projects, all pages of them.
func (c *projectListCommand) Run(p *process) error {
	api, err := c.client(p)
	if err != nil {
		return err
	}
	found := []client.Project{}
	var cursor *string
	for {
		page, next, err := c.page(p, api, cursor)
		if err != nil {
			return err
		}
		found = append(found, page...)
		if cursor = next; cursor == nil {
			break
		}
	}
	return c.print(p.stdout, found, func(w io.Writer) {
		_, _ = fmt.Fprintln(w, "ID\tNAME\tSTATE\tVISIBILITY\tROLE")
		for _, one := range found {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", one.ID, orDash(one.Slug), one.State, one.Visibility, orDash(one.Role))
		}
	})
}

func (c *projectListCommand) page(p *process, api *client.ClientWithResponses, cursor *string) ([]client.Project, *string, error) {
	var state *client.State
	if c.State != "" {
		state = (*client.State)(&c.State)
	}
	var prefix *string
	if c.Prefix != "" {
		prefix = &c.Prefix
	}
	if c.All {
		answer, err := api.ListAllProjectsWithResponse(p.ctx, &client.ListAllProjectsParams{Cursor: cursor, State: state, Prefix: prefix})
		if err != nil {
			return nil, nil, err
		}
		return listedIn(answer.JSON200, answer.HTTPResponse)
	}
	answer, err := api.ListProjectsWithResponse(p.ctx, &client.ListProjectsParams{Cursor: cursor, State: state, Prefix: prefix})
	if err != nil {
		return nil, nil, err
	}
	return listedIn(answer.JSON200, answer.HTTPResponse)
}

func listedIn(list *client.ProjectList, answer *http.Response) ([]client.Project, *string, error) {
	page, err := got(list, answer)
	if err != nil {
		return nil, nil, err
	}
	return page.Items, client.NextCursor(answer), nil
}

type projectCreateCommand struct {
	remoteFlags `embed:""`

	Name   string `arg:"" help:"Name of the project, the first segment of its repositories' names."`
	Public bool   `help:"Everybody may pull."`
}

// Run creates a project.
func (c *projectCreateCommand) Run(p *process) error {
	api, err := c.client(p)
	if err != nil {
		return err
	}
	body := client.ProjectCreate{Slug: c.Name}
	if c.Public {
		public := client.Public
		body.Visibility = &public
	}
	answer, err := api.CreateProjectWithResponse(p.ctx, &client.CreateProjectParams{IdempotencyKey: newKey()}, body)
	if err != nil {
		return err
	}
	project, err := got(answer.JSON201, answer.HTTPResponse)
	if err != nil {
		return err
	}
	return c.print(p.stdout, project, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "created project %s, ID %s\n", c.Name, project.ID)
	})
}

type projectClaimCommand struct {
	remoteFlags `embed:""`

	Project        string `arg:"" help:"Name or ID of the project."`
	DiscardContent bool   `help:"Empty it first: what was pushed before can never be pulled."`
	Owner          string `placeholder:"ADDRESS" help:"E-mail address of the new owner; for admins. Default: you."`
}

// Run claims a project and shows what it holds.
func (c *projectClaimCommand) Run(p *process) error {
	api, err := c.client(p)
	if err != nil {
		return err
	}
	body := client.ClaimRequest{DiscardContent: &c.DiscardContent}
	if c.Owner != "" {
		body.Owner = &c.Owner
	}
	answer, err := api.ClaimProjectWithResponse(p.ctx, c.Project, body)
	if err != nil {
		return err
	}
	claimed, err := got(answer.JSON200, answer.HTTPResponse)
	if err != nil {
		return err
	}
	return c.print(p.stdout, claimed, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "claimed project %s, ID %s\n", orDash(claimed.Project.Slug), claimed.Project.ID)
		for _, pushed := range claimed.Pushed {
			_, _ = fmt.Fprintf(w, "before:\t%s\t%d tags\t%d manifests\t%d bytes\n", orDash(&pushed.Path), pushed.Tags, pushed.Manifests, pushed.Bytes)
		}
	})
}
