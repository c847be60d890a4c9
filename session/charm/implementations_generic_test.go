//go:build purego || !(amd64 || arm64)

package charm

var implementations = []string{"portable"}

func use(int) {}
