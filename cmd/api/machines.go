package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/berthregistry/berth/client"
)

// machineFlags are what robots and runners have in common.
type machineFlags struct {
	Name    string        `required:"" placeholder:"TEXT" help:"What tells it apart from others."`
	Expires time.Duration `placeholder:"DURATION" help:"Life of its secret, such as 720h. Default: no end."`
}

func (f machineFlags) expiry() (*time.Time, error) {
	switch {
	case f.Expires < 0:
		return nil, usageError{fmt.Errorf("--expires: %s is in the past", f.Expires)}
	case f.Expires == 0:
		return nil, nil
	}
	at := time.Now().Add(f.Expires)
	return &at, nil
}

type robotCreateCommand struct {
	remoteFlags  `embed:""`
	machineFlags `embed:""`

	Project    string   `arg:"" help:"Name or ID of the project."`
	Actions    []string `enum:"pull,push" default:"pull,push" placeholder:"LIST" help:"What it may do: pull, push or both."`
	Repository []string `placeholder:"PATTERN" help:"Only repositories whose path below the project matches, such as app/**. May be repeated."`
	Tag        []string `placeholder:"PATTERN" help:"Push only tags that match, such as v*. May be repeated."`
}

// Run creates a CI token. As text, standard output gets the secret and nothing else, for use in scripts.
func (c *robotCreateCommand) Run(p *process) error {
	api, err := c.client(p)
	if err != nil {
		return err
	}
	body := client.RobotCreate{Name: c.Name, Repositories: listed(c.Repository), Tags: listed(c.Tag)}
	for _, action := range c.Actions {
		body.Actions = append(body.Actions, client.RobotCreateActions(action))
	}
	if body.ExpiresAt, err = c.expiry(); err != nil {
		return err
	}
	answer, err := api.CreateRobotWithResponse(p.ctx, c.Project, &client.CreateRobotParams{IdempotencyKey: newKey()}, body)
	if err != nil {
		return err
	}
	created, err := got(answer.JSON201, answer.HTTPResponse)
	if err != nil {
		return err
	}
	return c.print(p.stdout, created, func(w io.Writer) { _, _ = fmt.Fprintln(w, created.Secret) })
}

type runnerCreateCommand struct {
	remoteFlags  `embed:""`
	machineFlags `embed:""`

	Project    string   `arg:"" optional:"" help:"Name or ID of the project. Without it: a runner of the server; for admins."`
	Repository []string `placeholder:"PATH" help:"Pull only this repository below the project. May be repeated. Default: all."`
}

// Run creates a runner. As text, standard output gets the secret and nothing else, for use in scripts.
func (c *runnerCreateCommand) Run(p *process) error {
	api, err := c.client(p)
	if err != nil {
		return err
	}
	expires, err := c.expiry()
	if err != nil {
		return err
	}
	created, err := c.create(p, api, expires)
	if err != nil {
		return err
	}
	return c.print(p.stdout, created, func(w io.Writer) { _, _ = fmt.Fprintln(w, created.Secret) })
}

func (c *runnerCreateCommand) create(p *process, api *client.ClientWithResponses, expires *time.Time) (*client.CreatedRunner, error) {
	if c.Project != "" {
		answer, err := api.CreateRunnerWithResponse(p.ctx, c.Project, &client.CreateRunnerParams{IdempotencyKey: newKey()},
			client.RunnerCreate{Name: c.Name, ExpiresAt: expires, Repositories: listed(c.Repository)})
		if err != nil {
			return nil, err
		}
		return got(answer.JSON201, answer.HTTPResponse)
	}
	if len(c.Repository) > 0 {
		return nil, usageError{errors.New("--repository: a runner of the server is granted repositories by their projects")}
	}
	answer, err := api.CreateServerRunnerWithResponse(p.ctx, &client.CreateServerRunnerParams{IdempotencyKey: newKey()},
		client.ServerRunnerCreate{Name: c.Name, ExpiresAt: expires})
	if err != nil {
		return nil, err
	}
	return got(answer.JSON201, answer.HTTPResponse)
}

func listed(values []string) *[]string {
	if len(values) == 0 {
		return nil
	}
	return &values
}
