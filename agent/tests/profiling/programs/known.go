// Known stacks in Go: leaves without frames, in two goroutines.
package main

var sink uint64

//go:noinline
func hot(x uint64) {
	for i := 0; i < 70000; i++ {
		x = x*6364136223846793005 + 1
	}
	sink = x
}

//go:noinline
func cold(x uint64) {
	for i := 0; i < 30000; i++ {
		x = x*6364136223846793005 + 1
	}
	sink = x
}

//go:noinline
func chain(depth int) int {
	if depth == 0 {
		hot(1)
		cold(1)
		return 1
	}
	return chain(depth-1) + 1
}

//go:noinline
func work() {
	for {
		sink += uint64(chain(20))
	}
}

func main() {
	go work()
	work()
}
