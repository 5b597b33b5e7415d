package e2e

import (
	"path/filepath"
	"testing"

	"github.com/berthregistry/berth/client"
)

// TestPushOnlyRobots lets pipelines push that may read nothing, with clients that look first what is there.
func TestPushOnlyRobots(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		robot := newRobot(t, r.newProject(t, "demo"), "demo", client.RobotCreate{Actions: pushOnly})
		crane, skopeo := r.crane(t, robot.Secret), r.skopeo(t, robot.Secret)
		layout := newLayout(t, newImage(t, "amd64", nil, b.sizes()...))

		for _, tag := range []string{"one", "two", "two"} { // the layers, and then the tag too, are there already
			crane.run("push", layout, r.host+"/demo/app:"+tag)
			skopeo.copy("oci:"+layout+":latest", "docker://"+r.host+"/demo/other:"+tag, "--preserve-digests")
		}
		for _, repo := range []string{"demo/app", "demo/other"} {
			r.admin(t).wantTags(repo, "one", "two")
			same(t, blobsOf(t, layout), r.admin(t).readBack(repo, "two"))
		}
		to := filepath.Join(t.TempDir(), "pulled")
		for _, args := range [][]string{
			{"pull", r.host + "/demo/app:one", to}, {"manifest", r.host + "/demo/app:one"}, {"ls", r.host + "/demo/app"}, {"delete", r.host + "/demo/app:one"},
		} {
			crane.refused("denied", args...)
		}
		skopeo.refused("", "copy", "--src-tls-verify=false", "docker://"+r.host+"/demo/app:one", "oci:"+to)
	})
}

// TestPullOnlyRobots pulls and does not push.
func TestPullOnlyRobots(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		robot := newRobot(t, r.newProject(t, "demo"), "demo", client.RobotCreate{Actions: pullOnly})
		layout := newLayout(t, newImage(t, "amd64", nil, b.sizes()...))
		r.crane(t, adminToken).run("push", layout, r.host+"/demo/app:one")

		wantPull(t, r, r.crane(t, robot.Secret), "demo/app:one", blobsOf(t, layout))
		r.crane(t, robot.Secret).refused("denied", "push", layout, r.host+"/demo/app:two")
		r.crane(t, robot.Secret).refused("denied", "tag", r.host+"/demo/app:one", "two")
		r.skopeo(t, robot.Secret).refused("", "copy", "--dest-tls-verify=false", "oci:"+layout+":latest", "docker://"+r.host+"/demo/app:two")
		r.admin(t).wantTags("demo/app", "one")
	})
}

// TestRobotsOfSomeRepositoriesAndTags has a pipeline that releases one application and touches nothing else.
func TestRobotsOfSomeRepositoriesAndTags(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		robot := newRobot(t, r.newProject(t, "demo"), "demo", client.RobotCreate{
			Actions: pullAndPush, Repositories: &[]string{"app/**"}, Tags: &[]string{"v*"},
		})
		image := newImage(t, "amd64", nil, b.sizes()...)
		layout := newLayout(t, image)
		blobs := blobsOf(t, layout)
		for _, name := range []string{"demo/app/web:latest", "demo/other:v1"} {
			r.crane(t, adminToken).run("push", layout, r.host+"/"+name)
		}
		crane, skopeo := r.crane(t, robot.Secret), r.skopeo(t, robot.Secret)

		crane.run("push", layout, r.host+"/demo/app/web:v1")
		crane.run("push", layout, r.host+"/demo/app/deep/er:v1.2.3")
		skopeo.copy("oci:"+layout+":latest", "docker://"+r.host+"/demo/app/web:v2", "--preserve-digests")
		crane.run("push", layout, r.host+"/demo/app/web@"+digestOf(t, image)) // a digest is no tag
		wantPull(t, r, crane, "demo/app/web:latest", blobs)
		wantPull(t, r, crane, "demo/app/web:v1", blobs)

		moved := newLayout(t, newImage(t, "amd64", nil, 77))
		for _, name := range []string{"demo/app/web:latest", "demo/app/web:1"} {
			crane.refused("denied", "push", moved, r.host+"/"+name)
			skopeo.refused("denied", "copy", "--dest-tls-verify=false", "oci:"+moved+":latest", "docker://"+r.host+"/"+name)
		}
		crane.refused("denied", "tag", r.host+"/demo/app/web:v1", "latest")
		for _, name := range []string{"demo/other:v1", "demo:v1", "demo/application:v1"} {
			crane.refused("forbidden", "push", moved, r.host+"/"+name)
			skopeo.refused("", "copy", "--dest-tls-verify=false", "oci:"+moved+":latest", "docker://"+r.host+"/"+name)
		}
		wantNoPull(t, r, crane, "demo/other:v1")
		r.admin(t).wantTags("demo/app/web", "latest", "v1", "v2")
		r.admin(t).wantTags("demo/other", "v1")
		same(t, blobs, r.admin(t).readBack("demo/app/web", "latest"))
	})
}
