package main

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Operations that are driven, as reports name them.
const (
	opManifestGet  = "manifest GET"
	opManifestHead = "manifest HEAD"
	opManifestPut  = "manifest PUT"
	opBlobGet      = "blob GET"
	opBlobHead     = "blob HEAD"
	opBlobPush     = "blob push"
)

// share is how many of a hundred requests are of a kind.
type share struct {
	op      string
	percent int
}

// productionMix is what registries in production are asked for: half are manifests, most of the rest are blobs, one in
// twenty writes. A blob push is a POST, a PATCH and a PUT; it counts once.
var productionMix = []share{
	{opManifestGet, 30}, {opManifestHead, 20}, {opBlobGet, 38}, {opBlobHead, 7}, {opBlobPush, 4}, {opManifestPut, 1},
}

// sizeClass is a range of blob sizes, in bytes, and how many of a hundred requests for blobs are about one of it.
type sizeClass struct {
	percent  int
	from, to float64
}

var sizeClasses = []sizeClass{
	{65, 1_000, megabyte}, {15, megabyte, 10 * megabyte}, {15, 10 * megabyte, 100 * megabyte}, {5, 100 * megabyte, 500 * megabyte},
}

const (
	// popularity is the exponent of Zipf's law: how much more often the first is asked for than the next.
	popularity = 1.2
	// smallestBlob is that of any scale.
	smallestBlob = 2 * tailSize
)

// plan is what a registry holds and what it is asked for. Equal seeds give equal plans.
type plan struct {
	seed   uint64
	images int
	// sizes are those of the blobs, by class, the most popular first.
	sizes [][]int64
}

// newPlan spreads blobs over the classes as requests are, and within a class evenly over the orders of magnitude. Sizes
// are multiplied by scale.
func newPlan(seed uint64, images, blobs int, scale float64) *plan {
	p := &plan{seed: seed, images: images, sizes: make([][]int64, len(sizeClasses))}
	rng := rand.New(rand.NewPCG(seed, math.MaxUint64))
	for i, class := range sizeClasses {
		n := max(1, blobs*class.percent/100)
		for k := range n {
			size := class.from * math.Pow(class.to/class.from, (float64(k)+0.5)/float64(n))
			p.sizes[i] = append(p.sizes[i], max(smallestBlob, int64(size*scale)))
		}
		rng.Shuffle(n, func(a, b int) { p.sizes[i][a], p.sizes[i][b] = p.sizes[i][b], p.sizes[i][a] })
	}
	return p
}

// bytes is what all blobs have together.
func (p *plan) bytes() int64 {
	var sum int64
	for _, size := range slices.Concat(p.sizes...) {
		sum += size
	}
	return sum
}

// asked is one request of the mix.
type asked struct {
	op string
	// image is of manifests; class and blob are of blobs.
	image, class, blob int
}

// stream is what one client asks for.
type stream struct {
	rng    *rand.Rand
	images *rand.Zipf
	blobs  []*rand.Zipf
}

// stream is different for each client, and the same for the same one.
func (p *plan) stream(client int) *stream {
	rng := rand.New(rand.NewPCG(p.seed, uint64(client)))
	s := &stream{rng: rng, images: zipf(rng, p.images)}
	for _, sizes := range p.sizes {
		s.blobs = append(s.blobs, zipf(rng, len(sizes)))
	}
	return s
}

func zipf(rng *rand.Rand, n int) *rand.Zipf { return rand.NewZipf(rng, popularity, 1, uint64(n-1)) }

func (s *stream) next() asked {
	a := asked{op: productionMix[s.draw(len(productionMix), func(i int) int { return productionMix[i].percent })].op}
	switch a.op {
	case opManifestGet, opManifestHead, opManifestPut:
		a.image = int(s.images.Uint64())
	default:
		a.class = s.draw(len(sizeClasses), func(i int) int { return sizeClasses[i].percent })
		a.blob = int(s.blobs[a.class].Uint64())
	}
	return a
}

// draw chooses one of n by their percentages, which are 100 together.
func (s *stream) draw(n int, percent func(int) int) int {
	left := s.rng.IntN(100)
	for i := range n - 1 {
		if left -= percent(i); left < 0 {
			return i
		}
	}
	return n - 1
}
