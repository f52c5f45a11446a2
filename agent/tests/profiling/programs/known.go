// Known stacks in Go: leaves without frames, in two goroutines.
package main

var sink uint64

// Each pass takes another time: passes of one length fall into step with the sampling clock,
// and the samples then show a part of the pass instead of its shares.
func rounds(pass *uint64) uint64 {
	*pass = *pass*6364136223846793005 + 1
	return 500 + *pass>>33%1000
}

//go:noinline
func hot(x, rounds uint64) {
	for i := uint64(0); i < 70*rounds; i++ {
		x = x*6364136223846793005 + 1
	}
	sink = x
}

//go:noinline
func cold(x, rounds uint64) {
	for i := uint64(0); i < 30*rounds; i++ {
		x = x*6364136223846793005 + 1
	}
	sink = x
}

//go:noinline
func chain(depth int, pass *uint64) int {
	if depth == 0 {
		now := rounds(pass)
		hot(1, now)
		cold(1, now)
		return 1
	}
	return chain(depth-1, pass) + 1
}

//go:noinline
func work() {
	pass := uint64(1)
	for {
		sink += uint64(chain(20, &pass))
	}
}

func main() {
	go work()
	work()
}
