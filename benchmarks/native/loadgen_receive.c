/* The receiving half of the load generator: counts, losses, latency by stamp, keyframe requests. */
#include "loadgen_internal.h"

static struct stream *find_stream(struct participant *p, uint32_t ssrc, bool video) {
    for (unsigned i = 0; i < p->stream_count; i++)
        if (p->streams[i].ssrc == ssrc) return &p->streams[i];
    if (p->stream_count == MAX_STREAMS) return NULL;
    struct stream *s = &p->streams[p->stream_count++];
    *s = (struct stream){.ssrc = ssrc, .video = video};
    return s;
}

static void note_latency(struct gen *g, bool video, int64_t ns) {
    if (ns < 0) ns = 0;
    size_t bucket = (size_t)ns / GEN_BUCKET_NS;
    g->totals->latency_count[video]++;
    if (bucket < GEN_BUCKETS)
        g->totals->latency[video][bucket]++;
    else
        g->totals->latency_over[video]++;
}

static void check_packet(struct gen *g, struct participant *p, struct stream *s, uint8_t *data, size_t length,
                         int64_t arrived_ns) {
    struct wd_rtp rtp;
    uint64_t index;
    if (!wd_rtp_parse(data, length, &rtp) ||
        wd_srtp_unprotect(p->receive, &s->srtp, data, &length, rtp.header_length, &index) != WD_SRTP_OK) {
        g->totals->forged++;
        return;
    }
    g->totals->checked++;
    size_t at = rtp.header_length + (s->video ? STAMP_VIDEO : STAMP_AUDIO);
    if (at + 8 <= length) note_latency(g, s->video, arrived_ns - (int64_t)wd_get64(data + at));
}

static void receive_rtp(struct gen *g, struct participant *p, uint8_t *data, size_t length, int64_t arrived_ns) {
    struct stream *s = find_stream(p, wd_get32(data + 8), length > 400);
    if (!s) {
        g->totals->other++;
        return;
    }
    uint16_t sequence = wd_get16(data + 2);
    if (!s->started) {
        s->started = true;
        s->first = s->highest = 0x10000u + sequence;
    } else {
        uint64_t extended = s->highest + (uint64_t)(int64_t)(int16_t)(uint16_t)(sequence - (uint16_t)s->highest);
        if (extended > s->highest) s->highest = extended;
    }
    s->video |= length > 400;
    s->received++;
    g->totals->received++;
    g->totals->received_bytes += length;
    if (s->until_sample) {
        s->until_sample--;
        return;
    }
    s->until_sample = g->options.sample ? g->options.sample - 1 : 0;
    check_packet(g, p, s, data, length, arrived_ns);
}

static void receive_rtcp(struct gen *g, struct participant *p, uint8_t *packet, size_t length) {
    g->totals->rtcp_received++;
    if (wd_srtcp_unprotect(p->receive, packet, &length) != WD_SRTP_OK) {
        g->totals->rtcp_bad++;
        return;
    }
    const uint8_t *data = packet;
    struct wd_rtcp_block block;
    while (wd_rtcp_next(&data, &length, &block)) {
        struct wd_sender_info info;
        uint16_t lost[256];
        uint32_t media;
        if (block.type == WD_RTCP_SR && wd_rtcp_read_sender(&block, &info)) {
            for (unsigned i = 0; i < p->stream_count; i++)
                if (p->streams[i].ssrc == info.ssrc) {
                    p->streams[i].lsr = (uint32_t)(info.ntp >> 16);
                    p->streams[i].lsr_ns = clock_ns(CLOCK_REALTIME);
                }
        } else if (block.type == WD_RTCP_RTPFB && block.count == WD_RTPFB_NACK) {
            g->totals->nacked += wd_rtcp_read_nack(&block, &media, lost, 256);
        } else if (block.type == WD_RTCP_PSFB && (block.count == WD_PSFB_PLI || block.count == WD_PSFB_FIR)) {
            g->totals->keyframes_asked++;
            p->video.until_key = 0;
        }
    }
}

static void receive_stun(struct gen *g, struct participant *p, const uint8_t *data, size_t length) {
    struct wd_stun m;
    uint8_t reply[256];
    if (!wd_stun_parse(data, length, &m) || m.klass != WD_STUN_REQUEST) return;
    struct sockaddr_in server;
    socklen_t size = sizeof server;
    getpeername(p->config.fd, (struct sockaddr *)&server, &size);
    struct wd_addr mapped = {.family = 4, .port = ntohs(server.sin_port)};
    memcpy(mapped.ip, &server.sin_addr, 4);
    send_one(g, p, reply,
             wd_stun_write_success(reply, sizeof reply, m.transaction, &mapped, (const uint8_t *)p->config.password,
                                   strlen(p->config.password)));
}

static void receive_datagram(struct gen *g, struct participant *p, uint8_t *data, size_t length, int64_t arrived_ns) {
    if (length && data[0] < 4) receive_stun(g, p, data, length);
    if (length < 12 || data[0] < 128 || data[0] > 191) return; /* STUN, late DTLS */
    if (data[1] >= 192 && data[1] <= 223)
        receive_rtcp(g, p, data, length);
    else
        receive_rtp(g, p, data, length, arrived_ns);
}

static void receive_message(struct gen *g, struct participant *p, unsigned i, int64_t now_ns) {
    struct msghdr *h = &g->in[i].msg_hdr;
    size_t length = g->in[i].msg_len, step = length;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec t;
            memcpy(&t, CMSG_DATA(c), sizeof t);
            now_ns = t.tv_sec * SECOND + t.tv_nsec;
        } else if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
            int segment;
            memcpy(&segment, CMSG_DATA(c), sizeof segment);
            if (segment > 0) step = (size_t)segment;
        }
    }
    for (size_t at = 0; at < length; at += step)
        receive_datagram(g, p, (uint8_t *)g->in_parts[i].iov_base + at, length - at < step ? length - at : step,
                         now_ns);
}

void receive_all(struct gen *g, struct participant *p) {
    int got;
    do {
        for (unsigned i = 0; i < BATCH; i++) {
            g->in[i].msg_hdr.msg_control = &g->controls[i];
            g->in[i].msg_hdr.msg_controllen = g->options.kernel_times || g->options.gro ? sizeof g->controls[i] : 0;
        }
        got = recvmmsg(p->config.fd, g->in, BATCH, MSG_DONTWAIT, NULL);
        int64_t now = clock_ns(CLOCK_REALTIME);
        for (int i = 0; i < got; i++) receive_message(g, p, (unsigned)i, now);
    } while (got == BATCH);
}
