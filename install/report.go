package install

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"imgbuild/protocol"
)

// patience is how long the server may take for an answer.
const patience = 15 * time.Second

// maxAnswer is above what any answer has, in bytes.
const maxAnswer = 4 << 20

// reporter tells the server how far the installation is. Without a url nobody
// listens.
type reporter struct {
	client     *http.Client
	url, nonce string

	beside sync.WaitGroup
	busy   atomic.Bool
}

// send tells it once: the next line is not far.
func (r *reporter) send(ctx context.Context, p protocol.Progress) {
	if r.url != "" {
		_, _ = r.post(ctx, p)
	}
}

// sendBeside tells it while other things go on, unless the last one is still on its
// way.
func (r *reporter) sendBeside(ctx context.Context, p protocol.Progress) {
	if !r.busy.CompareAndSwap(false, true) {
		return
	}
	r.beside.Go(func() {
		defer r.busy.Store(false)
		r.send(ctx, p)
	})
}

// wait returns when nothing is on its way.
func (r *reporter) wait() { r.beside.Wait() }

// must tells it until it has been heard. A refusal of the server ends it.
func (r *reporter) must(ctx context.Context, p protocol.Progress, say func(string, ...any), sleep func(context.Context, time.Duration) error) error {
	if r.url == "" {
		return nil
	}
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		status, err := r.post(ctx, p)
		switch {
		case err == nil && status == http.StatusOK:
			return nil
		case status == http.StatusForbidden || status == http.StatusConflict:
			return fmt.Errorf("%w: %w", errRestart, err)
		case err == nil:
			err = fmt.Errorf("status %d", status)
		}
		say("install: waiting for the server to hear that it is %s (%v; next in %v)", p.Step, err, pause)
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

func (r *reporter) post(ctx context.Context, p protocol.Progress) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	body, err := json.Marshal(p)
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+r.nonce)
	request.Header.Set("Content-Type", "application/json")
	response, err := r.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(message(data))
	}
	return response.StatusCode, err
}

// get reads a small document.
func get(ctx context.Context, client *http.Client, url, nonce string) (data []byte, status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, err
	}
	if nonce != "" {
		request.Header.Set("Authorization", "Bearer "+nonce)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	data, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return data, response.StatusCode, err
}

// message is what the server says is wrong.
func message(data []byte) string { return protocol.Reason(data, "it does not say why") }
