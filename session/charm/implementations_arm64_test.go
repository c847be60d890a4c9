//go:build !purego

package charm

var implementations = []string{portable: "portable", words: "words"}

func use(i int) { inUse = i }
