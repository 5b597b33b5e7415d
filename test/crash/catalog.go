package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/test/crash/history"
)

// reposOfRound is how many repositories the clients share in a round.
const reposOfRound = 3

// tagNames are few, so that many clients move the same ones.
var tagNames = []string{"latest", "stable", "v1"}

// catalog is what the clients of a round know: what anybody has tried to push, whether or not it is there.
type catalog struct {
	mu    sync.Mutex
	round int
	repos map[string]*known
	names []string
}

type known struct {
	blobs     []blob
	manifests []manifest
}

// blob is content that can be made again from its seed.
type blob struct {
	digest digest.Digest
	size   int
	seed   uint64
}

func newBlob(random *rand.Rand, size int) blob {
	b := blob{size: size, seed: random.Uint64()}
	b.digest = digest.FromBytes(b.content())
	return b
}

func (b blob) content() []byte {
	content := make([]byte, b.size)
	var seed [32]byte
	for i := range 8 {
		seed[i] = byte(b.seed >> (8 * i))
	}
	_, _ = rand.NewChaCha8(seed).Read(content) // never fails
	return content
}

func (b blob) descriptor(mediaType string) specs.Descriptor {
	return specs.Descriptor{MediaType: mediaType, Digest: b.digest, Size: int64(b.size)}
}

// manifest is a manifest of any kind.
type manifest struct {
	digest    digest.Digest
	mediaType string
	content   []byte
	blobs     []digest.Digest
	subject   digest.Digest
}

func newCatalog(round int) *catalog {
	c := &catalog{round: round, repos: map[string]*known{}}
	for i := range reposOfRound {
		name := fmt.Sprintf("crash/round-%d/app-%d", round, i)
		c.names = append(c.names, name)
		c.repos[name] = &known{}
	}
	return c
}

func (c *catalog) repo(random *rand.Rand) string { return c.names[random.IntN(len(c.names))] }

// other is another repository than the given one.
func (c *catalog) other(repo string, random *rand.Rand) string {
	i := slices.Index(c.names, repo)
	return c.names[(i+1+random.IntN(len(c.names)-1))%len(c.names)]
}

func (c *catalog) addBlob(repo string, b blob) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.repos[repo]
	if !slices.ContainsFunc(k.blobs, func(other blob) bool { return other.digest == b.digest }) {
		k.blobs = append(k.blobs, b)
	}
}

func (c *catalog) addManifest(repo string, m manifest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.repos[repo]
	if !slices.ContainsFunc(k.manifests, func(other manifest) bool { return other.digest == m.digest }) {
		k.manifests = append(k.manifests, m)
	}
}

// blobOf is a blob that somebody has tried to push.
func (c *catalog) blobOf(repo string, random *rand.Rand) (blob, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return pick(c.repos[repo].blobs, random)
}

// manifestOf is a manifest that somebody has tried to push.
func (c *catalog) manifestOf(repo string, random *rand.Rand) (manifest, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return pick(c.repos[repo].manifests, random)
}

// pick draws one of the later entries more often: they are still being worked on.
func pick[T any](all []T, random *rand.Rand) (T, bool) {
	if len(all) == 0 {
		var none T
		return none, false
	}
	if random.IntN(2) == 0 {
		return all[len(all)-1-random.IntN(min(len(all), 8))], true
	}
	return all[random.IntN(len(all))], true
}

// of is what is known of a repository now.
func (c *catalog) of(repo string) known {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.repos[repo]
	return known{slices.Clone(k.blobs), slices.Clone(k.manifests)}
}

// trees are the manifests of the round with what they need.
func (c *catalog) trees() []history.Tree {
	var trees []history.Tree
	for _, repo := range c.names {
		for _, m := range c.of(repo).manifests {
			tree := history.Tree{Repo: repo, Digest: m.digest.String()}
			for _, d := range m.blobs {
				tree.Blobs = append(tree.Blobs, d.String())
			}
			trees = append(trees, tree)
		}
	}
	return trees
}

const (
	layerType    = specs.MediaTypeImageLayer
	artifactType = "application/vnd.example.signature"
)

// image makes a manifest, each with an annotation of its own so that no two are the same. subject may be empty.
func image(config blob, layers []blob, subject *manifest, note string) manifest {
	m := specs.Manifest{
		MediaType: specs.MediaTypeImageManifest, Config: config.descriptor(specs.MediaTypeImageConfig),
		Annotations: map[string]string{"note": note},
	}
	m.SchemaVersion = 2
	made := manifest{mediaType: specs.MediaTypeImageManifest, blobs: []digest.Digest{config.digest}}
	for _, layer := range layers {
		m.Layers = append(m.Layers, layer.descriptor(layerType))
		made.blobs = append(made.blobs, layer.digest)
	}
	if subject != nil {
		m.ArtifactType = artifactType
		m.Subject = &specs.Descriptor{MediaType: subject.mediaType, Digest: subject.digest, Size: int64(len(subject.content))}
		made.subject = subject.digest
	}
	slices.Sort(made.blobs)
	made.blobs = slices.Compact(made.blobs)
	return made.encoded(m)
}

// index makes an index of manifests.
func index(children []manifest, note string) manifest {
	m := specs.Index{MediaType: specs.MediaTypeImageIndex, Annotations: map[string]string{"note": note}, Manifests: []specs.Descriptor{}}
	m.SchemaVersion = 2
	for _, child := range children {
		m.Manifests = append(m.Manifests, specs.Descriptor{MediaType: child.mediaType, Digest: child.digest, Size: int64(len(child.content))})
	}
	return manifest{mediaType: specs.MediaTypeImageIndex}.encoded(m)
}

func (m manifest) encoded(document any) manifest {
	content, err := json.Marshal(document)
	if err != nil {
		panic(err) // these types can always be encoded
	}
	m.content, m.digest = content, digest.FromBytes(content)
	return m
}
