# What people do with this repository, a recipe each.

# Show the recipes.
default:
    @just --list

# Build the static program.
build:
    CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o dsvpn ./cmd/dsvpn

# Run all tests. As root they use network namespaces; without, those are skipped.
test *args:
    go test ./... {{args}}

# Show a server and a client at work on this machine, in throw-away namespaces.
demo *args:
    go run ./cmd/dsvpn demo {{args}}

# Measure the program beside its peers (as root), then the cipher and the session.
# `just bench --help` shows what can be chosen.
bench *args:
    go run ./cmd/dsvpn-bench {{args}}
    go test -run '^$' -bench . ./session/...

# Fuzz every target for a time or a number of runs, such as `just fuzz 10m`. What
# is found is a new file in a folder testdata/fuzz: mend it, and commit both.
fuzz for='1m':
    for package in $(go list ./...); do \
        for target in $(go test -list '^Fuzz' $package | grep '^Fuzz'); do \
            go test -run '^$' -fuzz "^$target\$" -fuzztime {{for}} -fuzzminimizetime 20x $package || \
                [ -z "$(git status --porcelain -- '*testdata/fuzz/*')" ] || exit 1; \
        done; \
    done

# What takes too long for each change: long fuzzing, and everything with the race
# detector. As root.
nightly: (fuzz '30m')
    CI=true CGO_ENABLED=1 go test -race -timeout 60m ./...

# Look for what compilers do not complain about.
lint:
    gofmt -l .
    go vet ./...
    go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

# Build for every system.
cross:
    .ci/targets | while read -r target; do \
        echo $target; \
        env CGO_ENABLED=0 $target go build -trimpath -o /dev/null ./cmd/dsvpn || exit 1; \
    done

# Make the archives of a release in dist, such as `just release 1.2.3`.
release version:
    .ci/release {{version}} dist

# Build the container image: the static program and nothing else.
image: build
    podman build --format docker -t dsvpn --build-context build=. .
