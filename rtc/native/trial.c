#include "trial.h"

#define TRIAL_NS WD_SECOND
#define STEP_NS (100 * WD_MS)
/* while media come from there and from nowhere else: as long as consent lasts (RFC 7675 section 5.1); and the credit of
 * all trials of a transport that fail */
#define LONGEST_NS (30 * WD_SECOND)
#define PRICE 30 /* so many seconds until one of that credit is there again */
#define PAUSE_NS (30 * WD_SECOND) /* behind a trial that failed, for addresses from which only checks come */
#define AGAIN_NS WD_SECOND /* for the address that failed, when media come from it; doubles with each failure */
#define MOST_FAILURES 5 /* that count */
#define RECENT_NS (2 * WD_SECOND) /* so long after its newest media or report an address sends media */
/* so long after a change of address what was under way may still arrive from the old one */
#define LATE_NS (300 * WD_MS)

int64_t wd_tuple_media_ns(const struct tuple *tuple) {
    return tuple->heard_ns > tuple->checked_ns ? tuple->heard_ns : tuple->media_before_ns;
}

bool wd_tuple_sends_media(const struct wd_router *router, const struct tuple *tuple) {
    int64_t media_ns = wd_tuple_media_ns(tuple);
    return media_ns && router->now_ns - media_ns <= RECENT_NS;
}

/* So long media may still go to addresses that are not validated. */
static int64_t credit_ns(const struct wd_router *router, const struct trial *trial) {
    return LONGEST_NS - (trial->paid_ns > router->now_ns ? (trial->paid_ns - router->now_ns) / PRICE : 0);
}

void wd_trial_fail(struct wd_router *router, struct transport *t) {
    struct trial *trial = &t->trial;
    struct tuple *tuple = trial->tuple;
    trial->paid_ns = (trial->paid_ns > router->now_ns ? trial->paid_ns : router->now_ns) +
                     PRICE * (router->now_ns - trial->began_ns);
    router->counters.trials_failed++;
    trial->tuple = NULL;
    trial->from_ns = router->now_ns + PAUSE_NS;
    tuple->trial_from_ns = router->now_ns + (AGAIN_NS << tuple->failed_trials);
    if (tuple->failed_trials < MOST_FAILURES) tuple->failed_trials++;
}

bool wd_trial_begin(struct wd_router *router, struct transport *t, struct tuple *tuple) {
    struct trial *trial = &t->trial;
    bool media = wd_tuple_sends_media(router, tuple);
    if (media && trial->tuple && trial->tuple != tuple && !wd_tuple_sends_media(router, trial->tuple))
        wd_trial_fail(router, t);
    if (!trial->tuple && router->now_ns >= (media ? tuple->trial_from_ns : trial->from_ns) &&
        credit_ns(router, trial) >= TRIAL_NS) {
        trial->tuple = tuple;
        trial->began_ns = router->now_ns;
        trial->checks = 1;
        wd_due(router, t, router->now_ns + STEP_NS);
    }
    return trial->tuple == tuple;
}

static bool media_come_from_elsewhere(const struct transport *t) {
    for (int i = 0; i < WD_TUPLES; i++) {
        const struct tuple *c = &t->ice.tuples[i];
        if (c->used && c != t->trial.tuple && wd_tuple_media_ns(c) > t->trial.began_ns + LATE_NS) return true;
    }
    return false;
}

bool wd_trial_has_ended(const struct wd_router *router, const struct transport *t) {
    const struct trial *trial = &t->trial;
    int64_t age_ns = router->now_ns - trial->began_ns;
    if (age_ns < TRIAL_NS) return false;
    return age_ns >= credit_ns(router, trial) || t->destination.selected != trial->tuple ||
           !wd_tuple_sends_media(router, trial->tuple) || media_come_from_elsewhere(t);
}

/* After 100, 300, 700 ms and so on. */
int64_t wd_trial_next_check_ns(const struct transport *t) {
    return t->trial.began_ns + STEP_NS * ((INT64_C(1) << t->trial.checks) - 1);
}

void wd_trial_schedule(struct wd_router *router, struct transport *t) {
    int64_t end_ns = t->trial.began_ns + TRIAL_NS, check_ns = wd_trial_next_check_ns(t);
    wd_due(router, t, router->now_ns < end_ns && end_ns < check_ns ? end_ns : check_ns);
}
