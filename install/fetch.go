package install

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"time"
)

// stalled is how long a connection may bring nothing before it is given up.
const stalled = 20 * time.Second

// The pauses between the attempts of a connection double from first to last.
const (
	firstPause = time.Second
	lastPause  = 15 * time.Second
)

// fetch reads a file over HTTP to its end, through any number of connections: each
// goes on where the last one has ended (RFC 9110, section 14). It gives up only
// where the file is another one than it was to be.
type fetch struct {
	ctx    context.Context
	client *http.Client
	url    string
	at     int64
	size   int64
	sum    hash.Hash
	sleep  func(context.Context, time.Duration) error
	// lost is told why a connection has ended.
	lost func(at int64, reason error, next time.Duration)
	// got is told of every piece.
	got func(at int64)

	body  io.ReadCloser
	watch *time.Timer
	// connection ends where nothing has come for too long, or with Close.
	connection context.Context
	drop       context.CancelFunc
	pause      time.Duration
}

// errOther is a file that is not the one of the manifest. Asking for the rest of it
// is of no use.
var errOther = errors.New("the served image is not the one of its manifest")

func newFetch(ctx context.Context, client *http.Client, url string, size int64) *fetch {
	return &fetch{
		ctx: ctx, client: client, url: url, size: size, sum: sha256.New(), pause: firstPause, sleep: sleep,
		lost: func(int64, error, time.Duration) {}, got: func(int64) {},
	}
}

// Read is io.Reader's. It waits as long as it takes.
func (f *fetch) Read(p []byte) (int, error) {
	for {
		if f.at == f.size {
			return 0, io.EOF
		}
		n, err := f.piece(p)
		if n > 0 {
			f.pause = firstPause
			f.sum.Write(p[:n])
			f.at += int64(n)
			f.got(f.at)
			return n, nil
		}
		if f.ctx.Err() != nil {
			return 0, f.ctx.Err()
		}
		if errors.Is(err, errOther) {
			return 0, err
		}
		if f.connection.Err() != nil {
			err = fmt.Errorf("nothing has come for %v", stalled)
		}
		f.Close()
		f.lost(f.at, err, f.pause)
		if err := f.sleep(f.ctx, f.pause); err != nil {
			return 0, err
		}
		f.pause = min(2*f.pause, lastPause)
	}
}

// piece reads from the connection, which it makes where there is none.
func (f *fetch) piece(p []byte) (int, error) {
	if f.body == nil {
		if err := f.connect(); err != nil {
			return 0, err
		}
	}
	f.watch.Reset(stalled)
	n, err := f.body.Read(p[:min(int64(len(p)), f.size-f.at)])
	if errors.Is(err, io.EOF) {
		err = errors.New("the connection ended early")
	}
	return n, err
}

func (f *fetch) connect() error {
	ctx, drop := context.WithCancel(f.ctx)
	f.drop, f.connection, f.watch = drop, ctx, time.AfterFunc(stalled, drop)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", errOther, err)
	}
	request.Header.Set("Range", fmt.Sprintf("bytes=%d-", f.at))
	// What arrives is what is digested.
	request.Header.Set("Accept-Encoding", "identity")
	response, err := f.client.Do(request)
	if err != nil {
		return err
	}
	f.body = response.Body
	switch {
	case response.StatusCode == http.StatusPartialContent:
		var first, last, whole int64
		_, err := fmt.Sscanf(response.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &whole)
		if err != nil || first != f.at || whole != f.size {
			return fmt.Errorf("%w: %s has the bytes %q, the manifest says %d", errOther, f.url, response.Header.Get("Content-Range"), f.size)
		}
		return nil
	case response.StatusCode == http.StatusOK && f.at == 0:
		// A server that knows no ranges is good enough while nothing is interrupted.
		if response.ContentLength >= 0 && response.ContentLength != f.size {
			return fmt.Errorf("%w: %s has %d bytes, the manifest says %d", errOther, f.url, response.ContentLength, f.size)
		}
		return nil
	case response.StatusCode == http.StatusOK:
		return fmt.Errorf("%w: %s: its server cannot send the rest of a file", errOther, f.url)
	case response.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return fmt.Errorf("%w: %s is shorter than %d bytes", errOther, f.url, f.at)
	}
	return fmt.Errorf("%s: %s", f.url, response.Status)
}

// Close ends the connection, if there is one.
func (f *fetch) Close() {
	if f.drop != nil {
		f.watch.Stop()
		f.drop()
	}
	if f.body != nil {
		f.body.Close()
		f.body = nil
	}
}

// check compares what has arrived with the manifest's digest.
func (f *fetch) check(want string) error {
	if f.at != f.size {
		return fmt.Errorf("%w: %d of %d bytes make the whole image", errOther, f.at, f.size)
	}
	if got := hex.EncodeToString(f.sum.Sum(nil)); got != want {
		return fmt.Errorf("%w: SHA-256 %s, the manifest says %s: a byte of it is wrong", errOther, got, want)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
