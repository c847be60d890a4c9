// App is an application in a container beside dsvpn, for a test. It sends to
// each address in its arguments without end, a connection attempt and a
// datagram at a time, and does not care whether anything arrives. To each
// address that it reads, a line each, it connects, and prints what it is told
// there or what went wrong.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

func main() {
	for _, address := range os.Args[1:] {
		go pester(address)
	}
	fmt.Println("started")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		told, err := ask(lines.Text())
		fmt.Printf("told %q, error %v\n", told, err)
	}
}

func pester(address string) {
	for range time.Tick(2 * time.Millisecond) {
		if c, err := net.DialTimeout("tcp", address, 10*time.Millisecond); err == nil {
			c.Close()
		}
		if c, err := net.Dial("udp", address); err == nil {
			c.Write([]byte("leak?"))
			c.Close()
		}
	}
}

func ask(address string) (string, error) {
	c, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	told, err := io.ReadAll(c)
	return string(told), err
}
