/* Keeps a core from halting: whoever wakes up on it finds it running. Does as little as a processor can, so that
 * caches, branch predictors and whoever shares the physical core are left alone: under an interpreter's loop the bare
 * loop of limit.c, asleep between its bursts, is 4 to 10 % slower than under this one. The caller gives it its core and
 * its (least) priority. Ends with the thread that started it. */
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

int main(void) {
    pid_t parent = getppid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) return 0; /* it ended meanwhile */
    for (;;) relax();
}
