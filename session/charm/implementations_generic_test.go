//go:build purego || !amd64

package charm

var implementations = []string{"portable"}

func use(int) {}
