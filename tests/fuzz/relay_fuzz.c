/* Fuzzes the relay core by hand: commands of a control plane, datagrams of clients, peers and our own media, requests
 * with all kinds of nonces, and time.
 *
 * Invariants, checked against a small model of who was permitted what until when: nothing leaves for a peer without a
 * permission that lives, nor by another allocation's outlet, nor to a closed port, and what is permitted for media only
 * leaves for known media only; nothing reaches a client but the data of a permitted peer, whole, and the answer to its
 * own request; what the model says must pass does pass; no request is heard without a nonce that was given to that very
 * address; who has returned none is sent no more than came from there but for the allowance, and all such together no
 * more than theirs. */
#define _GNU_SOURCE
#include "../../rtc/native/stun.h"
#include "relay_model.h"

#include <fcntl.h>
#include <unistd.h>

/* ---- what comes out ---- */

static void check_to_peer(const struct wd_addr *relayed, const struct wd_addr *peer, const uint8_t *data, size_t length,
                          bool handed) {
    unsigned six = peer->family == 6;
    require(w.acting < CLIENTS);
    const struct allocation *a = of_client(w.acting);
    require(a && a->relayed[six]);
    struct wd_addr named = relayed_address((unsigned)(a - w.allocations), six);
    named.via = WD_VIA_RELAY | INDEX;
    const struct grant *g = live_grant(a, peer);
    require(wd_same_address(relayed, &named) && g && length <= 2048);
    require(handed == is_media(peer) && (handed || may_pass_socket(g, peer)));
    if (w.payload) require(length == w.payload_length && (!length || !memcmp(data, w.payload, length)));
    w.out++;
}

/* The next of those that wait: by its own allocation's outlet, and as it was. */
static bool check_queue(const struct wd_outlet *outlet, const struct wd_addr *to, const uint8_t *data, size_t length) {
    if (w.sent == w.queued) return false;
    const struct pending *p = &w.queue[w.sent++];
    struct wd_addr named = relayed_address(p->id, to->family == 6);
    named.via = WD_VIA_RELAY | INDEX;
    require(wd_same_address(&outlet->address, &named) && outlet->fd == w.allocations[p->id].fds[to->family == 6]);
    require(wd_same_address(to, &p->peer) && length == p->length && (!length || *data == p->first));
    if (w.sent == w.queued) w.sent = w.queued = 0;
    return true;
}

static void to_peers(struct wd_egress *e) {
    struct wd_outlet outlet = wd_relay_outlet(w.relay);
    const struct allocation *a = w.acting < CLIENTS ? of_client(w.acting) : NULL;
    for (size_t i = 0; i < e->count; i++) {
        const struct wd_message *m = &e->messages[i];
        require(m->offset + m->length <= e->used && e->used <= WD_EGRESS_BYTES && !m->to.via);
        size_t step = m->segment ? m->segment : m->length, at = 0;
        do {
            size_t length = m->length - at < step ? m->length - at : step;
            if (check_queue(&outlet, &m->to, e->data + m->offset + at, length)) continue;
            require(a && outlet.fd == a->fds[m->to.family == 6]);
            check_to_peer(&outlet.address, &m->to, e->data + m->offset + at, length, false);
        } while (step && (at += step) < m->length);
    }
    e->used = e->count = 0;
}

static void hand_over(void *owner, void *target, uint8_t *datagram, size_t length, const struct wd_addr *relayed,
                      const struct wd_addr *media, int64_t now_ns) {
    require(owner == &w && target == &media_target && now_ns == w.now_ns && length > 0);
    check_to_peer(relayed, media, datagram, length, true);
    memset(datagram, 0xee, length);
    w.payload = NULL; /* it is spoilt */
}

static void check_answer(const struct wd_addr *to, const uint8_t *data, size_t length) {
    struct wd_stun m;
    require(wd_same_address(to, w.asking) && wd_stun_parse(data, length, &m) && m.klass >= WD_STUN_SUCCESS &&
            !memcmp(m.transaction, w.transaction, 12));
    size_t size;
    const uint8_t *nonce = wd_stun_find(data, length, 0x0015, &size);
    if (nonce) {
        struct nonce *n = &w.given[w.given_count++ % GIVEN];
        require(size == 16);
        *n = (struct nonce){.to = *to, .given_ns = w.now_ns};
        memcpy(n->text, nonce, 16);
    }
    if (to->via) return;
    w.all_answered += length;
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct wd_addr c = client_address(i);
        if (!wd_same_address(&c, to)) continue;
        if (w.now_ns - w.verified_ns[i] < VERIFIED_S * SECOND)
            w.all_answered -= length;
        else
            w.answered[i] += length;
    }
}

/* Data of w.peer for the client of w.reached. */
static void check_data(const struct wd_addr *to, const struct wd_addr *local, const uint8_t *data, size_t length) {
    const struct allocation *a = w.reached;
    require(a && a->used);
    struct wd_addr client = client_address(a->client), ours = local_address(a->client);
    const struct grant *g = live_grant(a, w.peer);
    require(wd_same_address(to, &client) && (!local || wd_same_address(local, &ours)) && g &&
            (w.back || may_pass_socket(g, w.peer)));
    const uint8_t *payload;
    size_t size = 0;
    if (data[0] >= 0x40) {
        unsigned number = wd_get16(data) - 0x4000u;
        require(number < CHANNELS && length >= 4 && wd_get16(data + 2) == length - 4);
        const struct channel *c = &a->channels[number];
        require(c->known && c->until_ns > w.now_ns && wd_same_address(&c->peer, w.peer));
        payload = data + 4;
        size = length - 4;
    } else {
        struct wd_addr named;
        size_t n;
        require(length >= 20 && wd_get16(data) == 0x0017 && wd_get32(data + 4) == 0x2112a442 &&
                wd_get16(data + 2) == length - 20);
        const uint8_t *address = wd_stun_find(data, length, 0x0012, &n);
        require(address && wd_stun_read_address(data, address, n, &named) && wd_same_address(&named, w.peer));
        payload = wd_stun_find(data, length, 0x0013, &size);
        require(payload != NULL);
    }
    require(size == w.payload_length && (!size || !memcmp(payload, w.payload, size)));
    w.out++;
}

static void check_to_client(const struct wd_addr *to, const struct wd_addr *local, const uint8_t *data, size_t length) {
    if (w.asking)
        check_answer(to, data, length);
    else if (w.replying)
        require(length == w.payload_length && !memcmp(data, w.payload, length));
    else
        check_data(to, local, data, length);
}

static void to_clients(struct wd_egress *e) {
    for (size_t i = 0; i < e->count; i++) {
        const struct wd_message *m = &e->messages[i];
        size_t step = m->segment ? m->segment : m->length;
        require(m->length > 0 && m->offset + m->length <= e->used && e->used <= WD_EGRESS_BYTES && !m->to.via);
        for (size_t at = 0; at < m->length; at += step)
            check_to_client(&m->to, &m->from, e->data + m->offset + at, m->length - at < step ? m->length - at : step);
    }
    e->used = e->count = 0;
}

static void send_stream(void *owner, uint32_t stream, const uint8_t *message, size_t length, int64_t now_ns) {
    struct wd_addr to = client_address(3);
    require(owner == &w && stream == to.via && now_ns == w.now_ns);
    check_to_client(&to, NULL, message, length);
}

/* ---- what goes in ---- */

static bool was_given(const uint8_t *nonce, size_t length, const struct wd_addr *to) {
    for (unsigned i = 0; length == 16 && i < w.given_count && i < GIVEN; i++) {
        const struct nonce *n = &w.given[i];
        bool same = (to->via ? wd_same_ip(&n->to, to) : wd_same_address(&n->to, to)) &&
                    w.now_ns - n->given_ns < (LIFETIME_S + 1) * SECOND;
        for (unsigned k = 0; same && k < 16; k++)
            same = n->text[k] == (nonce[k] == '=' ? 'A' : nonce[k]); /* base64 reads both alike */
        if (same) return true;
    }
    return false;
}

static void heard(void *owner, const uint8_t *message, size_t length, const struct wd_addr *from,
                  const struct wd_addr *local) {
    struct wd_stun m;
    size_t size;
    require(owner == &w && local && w.asking && wd_same_address(from, w.asking) && wd_stun_parse(message, length, &m) &&
            m.klass == WD_STUN_REQUEST);
    const uint8_t *nonce = wd_stun_find(message, m.integrity_at, 0x0015, &size);
    require(m.method != 1 && m.integrity_at && m.username_len && nonce &&
            (w.given_count > GIVEN || was_given(nonce, size, from)));
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct wd_addr c = client_address(i);
        if (!wd_same_ip(&c, from)) continue;
        w.verified_ns[i] = w.now_ns;
        w.events[i]++;
    }
}

static bool busy(void *owner) { return owner != &w; }

static void watch(void *owner, int fd, struct wd_epoll_source *source) {
    require(owner == &w && fd >= 0 && source->kind == WD_EPOLL_RELAYED);
}

static void unwatch(void *owner, int fd) { require(owner == &w && fd >= 0); }

static void gone(void *owner, const struct wd_addr *relayed) {
    require(owner == &w && relayed->via == (WD_VIA_RELAY | INDEX));
}

/* A datagram from a client, in memory of exactly its size. */
static void from_client(unsigned client, const uint8_t *data, size_t length, bool flush) {
    struct wd_addr from = client_address(client), local = local_address(client);
    uint8_t *copy = malloc(length ? length : 1);
    require(copy != NULL);
    if (length) memcpy(copy, data, length);
    bool request = length >= 20 && data[0] < 4 && wd_get16(data) != 0x0016;
    if (request) {
        w.asking = &from;
        w.transaction = data + 8;
        for (unsigned i = 0; i < CLIENTS; i++) { /* what came by streams counts: it came from there */
            struct wd_addr c = client_address(i);
            if (wd_same_ip(&c, &from)) w.received[i] += length;
        }
        w.all_received += length;
    } else
        w.acting = client;
    if (wd_relay_wants(copy, length)) wd_relay_client(w.relay, copy, length, &from, &local, w.now_ns);
    if (flush) wd_relay_flush(w.relay);
    w.asking = NULL;
    w.acting = CLIENTS;
    w.payload = NULL;
    free(copy);
}

static void ask(unsigned client, uint8_t control, struct tape *t) {
    static const uint16_t methods[4] = {0x0003, 0x0001, 0x0008, 0x0004};
    uint8_t message[512];
    size_t at = header(message, methods[control & 3], take(t, 1));
    if (control & 4) at = put(message, at, 0x0006, "somebody", 8);
    if (control & 8) {
        unsigned which = (unsigned)take(t, 1);
        struct nonce *n = &w.given[which % (w.given_count < GIVEN ? w.given_count + 1 : GIVEN)];
        char text[16];
        memcpy(text, n->text, 16);
        if (control & 16) text[take(t, 1) % 16] ^= (char)take(t, 1);
        at = put(message, at, 0x0015, text, 16);
    }
    if (control & 32) at = put(message, at, 0x0008, "00000000000000000000", 20);
    for (unsigned i = 0; i < (control & 64 ? 160u : 1u); i++) from_client(client, message, at, true);
}

/* Many addresses that ask once, all different. */
static void flood(uint8_t count) {
    uint8_t message[64];
    for (unsigned i = 0; i < count * 16u; i++) {
        size_t length = header(message, 0x0003, i);
        struct wd_addr from = {.ip = {100, (uint8_t)(i >> 8), (uint8_t)i, count}, .port = 9, .family = 4};
        w.asking = &from;
        w.transaction = message + 8;
        w.all_received += length;
        wd_relay_client(w.relay, message, length, &from, NULL, w.now_ns);
        wd_relay_flush(w.relay);
    }
    w.asking = NULL;
}

static void relay_out(unsigned client, uint8_t control, struct tape *t) {
    uint8_t host = (uint8_t)take(t, 1), message[PAYLOAD + 64];
    size_t length = (size_t)take(t, 2) % PAYLOAD, taken, at;
    const struct allocation *a = of_client(client);
    uint8_t *payload = take_copy(t, length, &taken);
    struct wd_addr peer = peer_address(host % HOSTS, control >> 5);
    bool indication = control & 16, expected = false;
    if (indication) {
        at = put_peer(message, header(message, 0x0016, host), &peer);
        if (control & 8) at = put(message, at, 0x001a, NULL, 0);
        at = put(message, at, 0x0013, payload, taken);
        expected = a && passes(a, &peer, taken);
    } else {
        unsigned number = host % CHANNELS;
        wd_put16(message, (uint16_t)(0x4000 + number));
        wd_put16(message + 2, (uint16_t)taken);
        memcpy(message + 4, payload, taken);
        at = 4 + taken + (control & 3);
        memset(message + 4 + taken, 0, control & 3);
        const struct channel *c = a ? &a->channels[number] : NULL;
        expected = c && c->known && c->until_ns > w.now_ns && passes(a, &c->peer, taken);
        if (c) peer = c->peer;
    }
    bool waits = control & 4 && w.queued < QUEUE && a && !a->capped && is_roomy(a) && !(expected && is_media(&peer));
    if (waits && expected)
        w.queue[w.queued++] = (struct pending){(unsigned)(a - w.allocations), peer, taken, taken ? *payload : 0};
    else if (!waits)
        wd_relay_flush(w.relay);
    w.out = 0;
    w.payload = payload;
    w.payload_length = taken;
    from_client(client, message, at, !waits);
    require(w.out <= 1);
    if (!waits && a && !a->capped && is_roomy(a)) require(w.out == expected);
    free(payload);
}

static void relay_in(unsigned id, uint8_t control, struct tape *t, bool back) {
    unsigned six = control >> 7 & 1;
    struct wd_addr peer = peer_address((unsigned)take(t, 1) % HOSTS, control >> 3), relayed = relayed_address(id, six);
    size_t length = (size_t)take(t, 2) % PAYLOAD, taken;
    uint8_t *payload = take_copy(t, length, &taken);
    struct allocation *a = &w.allocations[id];
    struct wd_relayed *found = wd_relay_find(w.relay, &relayed);
    require((found != NULL) == (a->used && a->relayed[six]));
    const struct grant *g = found ? live_grant(a, &peer) : NULL;
    bool expected = g && taken <= 2048 && (back || may_pass_socket(g, &peer));
    w.reached = found ? a : NULL;
    w.peer = &peer;
    w.back = back;
    w.payload = payload;
    w.payload_length = taken;
    w.out = 0;
    if (back)
        wd_relay_back(w.relay, &relayed, &peer, payload, taken, w.now_ns);
    else if (found)
        wd_relay_peer(w.relay, found, payload, taken, &peer, w.now_ns);
    wd_relay_flush(w.relay);
    require(w.out <= 1);
    if (!a->capped && is_roomy(a)) require(w.out == expected);
    w.reached = NULL;
    w.payload = NULL;
    free(payload);
}

/* ---- commands, and the model of them ---- */

static void add(unsigned id, unsigned client, bool capped) {
    struct wd_addr address = client_address(client), local = local_address(client);
    bool can = !w.allocations[id].used && !of_client(client);
    require(wd_relay_add(w.relay, id + 1, &address, &local, capped ? 100000 : 0) == can);
    if (can) w.allocations[id] = (struct allocation){.used = true, .client = client, .capped = capped, .fds = {-1, -1}};
}

static void grant(struct allocation *a, unsigned host, int64_t until_ns, bool media_only) {
    struct wd_addr peer = peer_address(host, 0);
    require(wd_relay_permit(w.relay, (uint32_t)(a - w.allocations) + 1, &peer, until_ns, media_only) == a->used);
    if (!a->used) return;
    a->hosts += !a->grants[host].known;
    a->grants[host] = (struct grant){until_ns, true, media_only};
}

static void bind_channel(struct allocation *a, unsigned number, const struct wd_addr *peer, int64_t until_ns) {
    require(wd_relay_bind(w.relay, (uint32_t)(a - w.allocations) + 1, (uint16_t)(0x4000 + number), peer, until_ns) ==
            a->used);
    if (!a->used) return;
    a->numbers += !a->channels[number].known;
    a->channels[number] = (struct channel){until_ns, *peer, true};
}

static void command(unsigned operation, uint8_t control, struct tape *t) {
    unsigned id = control % ALLOCATIONS, six = control >> 7;
    struct allocation *a = &w.allocations[id];
    struct wd_addr relayed = relayed_address(id, six);
    switch (operation) {
    case 0: add(id, (control >> 2) % CLIENTS, control & 0x40); break;
    case 1:
        require(wd_relay_add_relayed(w.relay, id + 1, &relayed) == (a->used && !a->relayed[six]));
        if (a->used) a->relayed[six] = true;
        break;
    case 2: {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        bool can = a->used && a->relayed[six] && a->fds[six] < 0;
        require(fd >= 0 && wd_relay_open(w.relay, id + 1, &relayed, fd) == can);
        if (can) a->fds[six] = fd;
        break;
    }
    case 3: {
        unsigned host = (unsigned)take(t, 1) % HOSTS;
        grant(a, host, w.now_ns + (int64_t)take(t, 1) * SECOND, control & 4);
        break;
    }
    case 4: {
        unsigned number = (unsigned)take(t, 1) % CHANNELS;
        struct wd_addr peer = peer_address((unsigned)take(t, 1) % HOSTS, control >> 3);
        bind_channel(a, number, &peer, w.now_ns + (int64_t)take(t, 1) * SECOND);
        break;
    }
    case 5: {
        unsigned client = (control >> 2) % CLIENTS;
        struct wd_addr address = client_address(client), local = local_address(client);
        bool can = a->used && (a->client == client || !of_client(client));
        require(wd_relay_move(w.relay, id + 1, &address, &local) == can);
        if (can) a->client = client;
        break;
    }
    default:
        require(wd_relay_remove(w.relay, id + 1) == a->used);
        a->used = a->relayed[0] = a->relayed[1] = false;
        break;
    }
}

static void check_budgets(void) {
    double elapsed_s = (double)(w.now_ns - w.began_ns) / 1e9;
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct wd_addr c = client_address(i);
        uint64_t answered = 0;
        for (unsigned k = 0; k < CLIENTS && !c.via; k++) {
            struct wd_addr other = client_address(k);
            if (wd_same_ip(&c, &other) && !other.via) answered += w.answered[k];
        }
        require((double)answered <= (double)w.received[i] + 2400 + 600 * (elapsed_s + 1));
        require((double)w.events[i] <= REQUESTS_PER_S * (elapsed_s + 2));
    }
    require((double)w.all_answered <= (double)w.all_received + 200000 * (elapsed_s + 1));
}

static void act(struct tape *t) {
    uint8_t operation = (uint8_t)take(t, 1), control = (uint8_t)take(t, 1);
    unsigned client = control % CLIENTS;
    size_t taken;
    uint8_t *raw;
    switch (operation % 16) {
    case 7: w.now_ns += (int64_t)control * control * (operation & 0x80 ? 40000000 : 100000); break;
    case 8:
    case 9: relay_out((operation >> 4) % CLIENTS, control, t); break;
    case 10: ask((operation >> 4) % CLIENTS, control, t); break;
    case 11: relay_in(control % ALLOCATIONS, control, t, false); break;
    case 12: relay_in(control % ALLOCATIONS, control, t, true); break;
    case 13:
        raw = take_copy(t, (size_t)take(t, 2) % PAYLOAD, &taken);
        wd_relay_flush(w.relay);
        require(w.queued == 0);
        from_client(client, raw, taken, true);
        free(raw);
        break;
    case 14: flood(control); break;
    case 15: {
        struct wd_addr to = client_address(client), local = local_address(client);
        w.replying = true;
        w.payload = (const uint8_t *)"reply";
        w.payload_length = 1 + control % 5;
        wd_relay_reply(w.relay, &to, &local, w.payload, w.payload_length, w.now_ns);
        wd_relay_flush(w.relay);
        w.replying = false;
        break;
    }
    default: command(operation % 16, control, t); break;
    }
    check_budgets();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tape tape = {data, size};
    memset(&w, 0, offsetof(struct world, clients));
    memset(w.allocations, 0, sizeof w - offsetof(struct world, allocations));
    w.clients.flush = to_clients;
    w.peers.flush = to_peers;
    w.acting = CLIENTS;
    w.now_ns = w.began_ns = 100 * SECOND;
    for (unsigned i = 0; i < CLIENTS; i++) w.verified_ns[i] = INT64_MIN / 2;
    struct wd_relay_config config = {.max_allocations = ALLOCATIONS,
                                     .index = INDEX,
                                     .seed = 1,
                                     .owner = &w,
                                     .request = heard,
                                     .busy = busy,
                                     .hand_over = hand_over,
                                     .send_stream = send_stream,
                                     .watch = watch,
                                     .unwatch = unwatch,
                                     .gone = gone,
                                     .clients = &w.clients,
                                     .peers = &w.peers};
    require((w.relay = wd_relay_new(&config)) != NULL);
    struct wd_relay_rules rules = {.realm_length = 5,
                                   .realm = "wadud",
                                   .nonce_key = {1, 2, 3},
                                   .nonce_lifetime_s = LIFETIME_S,
                                   .requests_per_s = REQUESTS_PER_S,
                                   .answer_binding = true};
    memset(rules.open_ports, 0xff, sizeof rules.open_ports);
    rules.open_ports[9 >> 3] &= (uint8_t)~(1u << (9 & 7));
    wd_relay_configure(w.relay, &rules);
    for (unsigned six = 0; six < 2; six++) {
        struct wd_addr media = peer_address(six * HOSTS / 2, 0), elsewhere = peer_address(six * HOSTS / 2 + 1, 0);
        require(wd_relay_know_media(w.relay, &media, &media_target) &&
                wd_relay_know_media_elsewhere(w.relay, &elsewhere));
    }
    while (tape.size >= 2) act(&tape);
    wd_relay_flush(w.relay);
    require(w.queued == 0);
    wd_relay_free(w.relay);
    return 0;
}
