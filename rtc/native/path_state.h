/* The state of a participant's network paths: remote addresses, ICE credentials, and what is known of whether an
 * address receives.
 *
 * ice.c, path.c, path_validation.c and trial.c work on it. */
#ifndef WD_PATH_STATE_H
#define WD_PATH_STATE_H

#include <stdbool.h>

#include "address.h"

#define WD_TUPLES 4 /* remote addresses kept per transport */
#define WD_GENERATIONS 4 /* of ICE credentials, ours and theirs, that can be in use: answers to offers get lost */
#define WD_PROOFS 4
#define WD_CONGESTED_STREAM 1 /* see wd_router_congested */
#define WD_CONGESTED_THIN 2 /* see limit.c */
#define WD_CONSENT_NS INT64_C(30000000000) /* RFC 7675 section 5.1 */

/* Does an address receive what is sent there (path_validation.c)? A state is never left backwards; a tuple that is
 * bound anew begins with the first. */
enum wd_validation {
    WD_UNVALIDATED, /* something authentic came from there: its sender is known, but the source may be forged */
    WD_CHALLENGED, /* our own check, `transaction`, was sent there; its answer is awaited */
    WD_VALIDATED, /* what is sent there is received */
};

/* A remote address of one transport, and the local one that it talks to. What every packet needs comes first. */
struct tuple {
    struct transport *transport;
    int64_t heard_ns;
    struct wd_addr remote, local;
    bool used;
    uint8_t congested; /* why no pictures go there: WD_CONGESTED_* */
    uint8_t credentials; /* number of those of ours that the newest check named */
    uint8_t failed_trials;
    enum wd_validation validation;
    uint8_t transaction[12];
    uint8_t guesses, proof_next;
    uint32_t
        proofs[WD_PROOFS]; /* sender reports that were sent there, by the time that is reported back (LSR); 0 = none */
    uint64_t remote_key; /* of the ufrag of theirs that the newest check named */
    int64_t checked_ns; /* newest check */
    int64_t media_before_ns; /* newest media or report before it */
    int64_t trial_from_ns; /* no trial before */
};
/* what every packet touches of an object that begins with a cache line */
#define WD_TUPLE_HEAD offsetof(struct tuple, transaction)

struct local_credentials {
    uint8_t ufrag_length, password_length, number;
    char ufrag[33], password[65];
};

struct remote_credentials {
    char *text; /* "ufrag NUL password"; NULL = none */
    uint64_t key; /* of the ufrag */
};

/* Of one transport, beyond what every packet needs. */
struct ice {
    struct tuple tuples[WD_TUPLES];
    struct local_credentials local[WD_GENERATIONS]; /* newest first */
    struct remote_credentials remote[WD_GENERATIONS]; /* newest first */
    uint8_t local_count;
    uint8_t used_number; /* of the local credentials that the newest check named */
    bool selection_unreported;
    uint8_t selection_events; /* since selection_window_ns */
    int64_t selection_window_ns;
};

/* Media to an address that is not validated yet (trial.c). */
struct trial {
    struct tuple *tuple; /* media may go there, or could; NULL = no trial */
    struct tuple *next; /* is selected when it is validated */
    uint8_t checks; /* of ours, since it began */
    int64_t began_ns;
    int64_t paid_ns; /* when the credit for trials will be whole again */
    int64_t from_ns; /* no trial before, for addresses from which only checks come */
};

/* Of the DTLS handshake's datagrams. */
struct handshake {
    struct tuple *from; /* where the newest came from */
    struct tuple *to; /* where the newest went */
    bool split; /* they went to more than one address */
    uint32_t count; /* since window_ns */
    int64_t window_ns;
};

#endif
