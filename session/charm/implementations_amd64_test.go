//go:build !purego

package charm

// implementations names those that this machine can run.
var implementations = []string{portable: "portable", ssse3: "ssse3", avx512vl: "avx512vl"}[:fastest+1]

// use puts one of them to use.
func use(i int) { inUse = i }
