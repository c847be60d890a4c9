# The image is the static program and nothing else.
#
#     podman build -t dsvpn .                              builds the program as well
#     podman build -t dsvpn --build-context build=DIR .    takes DIR/dsvpn, built before
#
# docker takes the same arguments.

FROM docker.io/library/golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /dsvpn ./cmd/dsvpn

FROM scratch
COPY --from=build /dsvpn /dsvpn
HEALTHCHECK --interval=10s --timeout=6s CMD ["/dsvpn", "health"]
ENTRYPOINT ["/dsvpn"]
