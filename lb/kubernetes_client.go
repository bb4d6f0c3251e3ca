package lb

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/uprung/uprung/internal/option"
)

const (
	// pageLimit is how many slices a page of a list has: of 100 endpoints each, unless
	// the cluster says otherwise, and up to 1000.
	pageLimit = 100
	// maxList bounds a list in all its pages, in bytes.
	maxList = 64 << 20
	// maxEvent bounds an event, in bytes: a slice of 1000 endpoints has less than a
	// megabyte.
	maxEvent = 8 << 20
	// maxAccountFile bounds the files of a service account, in bytes.
	maxAccountFile = 1 << 20
	// maxMessage bounds what an error quotes of the server, in bytes.
	maxMessage = 512

	// answerWithin bounds the time of a list, and until a watch begins.
	answerWithin = 30 * time.Second
	// endWithin is how much later than it was asked to the server may end a watch.
	endWithin = 10 * time.Second
)

var (
	// errGone says that the server no longer knows the version or the page asked for.
	errGone     = errors.New("lb: Kubernetes has forgotten the version")
	errNoAnswer = fmt.Errorf("no answer within %v", answerWithin)
	errSilent   = fmt.Errorf("a watch was not ended within %v of the time it should", endWithin)
)

// statusError is an answer that is an error, or an event that is one.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string { return e.text }

func (e *statusError) Is(target error) bool { return target == errGone && e.code == http.StatusGone }

// resumable reports whether a watch that ended with err can be taken up where it
// ended: if the connection failed, or the server asks for less load, and not if
// anything is wrong with what was asked or what came.
func resumable(err error) bool {
	if status, ok := errors.AsType[*statusError](err); ok {
		return status.code == http.StatusTooManyRequests || status.code == http.StatusServiceUnavailable
	}
	_, badEvent := errors.AsType[*eventError](err)
	return !badEvent
}

// list returns all slices of the service.
func (k *kubernetes) list(ctx context.Context) (*sliceSet, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerWithin, errNoAnswer)
	defer cancel()
	set, err := k.pages(ctx)
	if errors.Is(err, errGone) { // before the last page was asked for
		set, err = k.pages(ctx)
	}
	return set, err
}

// pages lists the slices page by page.
func (k *kubernetes) pages(ctx context.Context) (*sliceSet, error) {
	set := &sliceSet{slices: map[string]*endpointSlice{}}
	limit := &limited{left: maxList}
	for next := ""; ; {
		query := url.Values{"limit": {strconv.Itoa(pageLimit)}}
		if next != "" {
			query.Set("continue", next)
		}
		page, err := k.page(ctx, query, limit)
		if err != nil {
			return nil, because(ctx, err)
		}
		for i := range page.Items {
			set.slices[page.Items[i].Metadata.Name] = &page.Items[i]
		}
		set.version = page.Metadata.ResourceVersion
		if next = page.Metadata.Continue; next == "" {
			return set, nil
		}
	}
}

// page returns one page of a list.
func (k *kubernetes) page(ctx context.Context, query url.Values, limit *limited) (*sliceList, error) {
	resp, err := k.get(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	limit.r = resp.Body
	data, err := io.ReadAll(limit)
	if err != nil {
		return nil, wrapped(err)
	}
	page := &sliceList{}
	if err := json.Unmarshal(data, page); err != nil {
		return nil, &eventError{err}
	}
	if page.Metadata.ResourceVersion == "" {
		return nil, &eventError{errors.New("a list without a version")}
	}
	return page, nil
}

// watch brings set up to date until the watch ends, and calls changed when it begins
// and when anything has changed. Its error is nil if the server has ended it in good
// order.
func (k *kubernetes) watch(ctx context.Context, set *sliceSet, changed func()) error {
	seconds := max(1, int(k.o.WatchTimeout.Seconds()*(1-rand.Float64()/4)))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	unanswered := time.AfterFunc(answerWithin, func() { cancel(errNoAnswer) })
	defer unanswered.Stop()
	resp, err := k.get(ctx, url.Values{
		"watch": {"true"}, "allowWatchBookmarks": {"true"}, "resourceVersion": {set.version}, "timeoutSeconds": {strconv.Itoa(seconds)},
	})
	if err != nil {
		return because(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	unanswered.Stop()
	silent := time.AfterFunc(time.Duration(seconds)*time.Second+endWithin, func() { cancel(errSilent) })
	defer silent.Stop()
	changed()
	return because(ctx, set.follow(resp.Body, changed))
}

// because returns err, or why ctx ended if it did.
func because(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return wrapped(context.Cause(ctx))
	}
	return err
}

// wrapped says where an error comes from that does not.
func wrapped(err error) error {
	if errors.Is(err, errTooLarge) {
		return err
	}
	return fmt.Errorf("lb: Kubernetes: %w", err)
}

// get asks for the slices of the service.
func (k *kubernetes) get(ctx context.Context, query url.Values) (*http.Response, error) {
	namespace := k.o.Namespace
	if namespace == "" {
		data, err := k.account("namespace")
		if err != nil {
			return nil, err
		}
		if namespace = strings.TrimSpace(string(data)); !isLabel(namespace) {
			return nil, errors.New("lb: the file namespace of the service account has none")
		}
	}
	token, err := k.token(ctx)
	if err != nil {
		return nil, err
	}
	client, err := k.client()
	if err != nil {
		return nil, err
	}
	query.Set("labelSelector", "kubernetes.io/service-name="+k.service)
	address := k.o.URL + "/apis/discovery.k8s.io/v1/namespaces/" + namespace + "/endpointslices?" + query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, wrapped(err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "uprung/lb")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, wrapped(err)
	}
	if resp.StatusCode != http.StatusOK {
		defer func() { _ = resp.Body.Close() }() // it was only read
		return nil, refused(resp, token)
	}
	return resp, nil
}

// refused returns the error that an answer is.
func refused(resp *http.Response, token string) error {
	var status struct {
		Message string `json:"message"`
	}
	// What is cut off or no JSON has no message.
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	_ = json.Unmarshal(data, &status)
	if token != "" { // whatever answers may repeat it
		status.Message = strings.ReplaceAll(status.Message, token, "(token)")
	}
	return newStatusError(resp.StatusCode, status.Message)
}

func newStatusError(code int, message string) error {
	text := fmt.Sprintf("lb: Kubernetes answers %d", code)
	if message != "" {
		text = fmt.Sprintf("%s: %q", text, message[:min(len(message), maxMessage)])
	}
	return &statusError{code: code, text: text}
}

// account returns what is in a file of the service account.
func (k *kubernetes) account(name string) ([]byte, error) {
	var data bytes.Buffer
	err := readInto(&data, filepath.Join(k.o.ServiceAccount, name), maxAccountFile)
	return data.Bytes(), err
}

// token returns the token of a request.
func (k *kubernetes) token(ctx context.Context) (string, error) {
	if k.o.Token != nil {
		token, err := k.o.Token(ctx)
		switch {
		case err != nil:
			return "", wrapped(err)
		case !option.Printable(token):
			return "", errors.New("lb: what KubernetesOptions.Token returns is not of printable ASCII characters")
		}
		return token, nil
	}
	data, err := k.account("token")
	token := strings.TrimSpace(string(data))
	if err == nil && (token == "" || !option.Printable(token)) {
		err = errors.New("lb: the file token of the service account is not of printable ASCII characters")
	}
	return token, err
}

// client returns what makes requests, by the transport of the options or by one that
// trusts what the service account says as of now.
func (k *kubernetes) client() (*http.Client, error) {
	if k.o.Transport != nil {
		return bare(k.o.Transport), nil
	}
	ca, err := k.account("ca.crt")
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.own == nil || !bytes.Equal(ca, k.ca) {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(ca) {
			return nil, errors.New("lb: the file ca.crt of the service account has no certificate")
		}
		// A list and then a watch every few minutes are not worth a connection that is
		// kept in between, and its goroutines.
		k.ca, k.own = ca, bare(&http.Transport{
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: 64 << 10,
		})
	}
	return k.own, nil
}

// bare returns a client that sends requests to no other server than the one it is told.
func bare(transport http.RoundTripper) *http.Client {
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}
