package main

import (
	"encoding/json"
	"errors"
	"fmt"
)

// transfer is what the receiving side of an iperf3 run got.
type transfer struct {
	Bytes   float64 // in all streams
	Rate    float64 // bits per second
	Percent float64 // of the datagrams that were lost; 0 with TCP
}

// parseIperf3 reads the output of iperf3 --json.
func parseIperf3(output []byte) (transfer, error) {
	var report struct {
		Error string
		End   struct {
			Received *struct {
				Bytes         float64
				BitsPerSecond float64 `json:"bits_per_second"`
				LostPercent   float64 `json:"lost_percent"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal(output, &report); err != nil {
		return transfer{}, fmt.Errorf("output of iperf3: %w", err)
	}
	if report.Error != "" {
		return transfer{}, errors.New("iperf3: " + report.Error)
	}
	got := report.End.Received
	if got == nil || got.Bytes == 0 {
		return transfer{}, errors.New("iperf3: nothing was received")
	}
	return transfer{Bytes: got.Bytes, Rate: got.BitsPerSecond, Percent: got.LostPercent}, nil
}
