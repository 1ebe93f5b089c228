#include "srtp_ipsec.h"

#include "cache_line.h"

#if __has_include(<intel-ipsec-mb.h>) && !defined WD_WITHOUT_IPSEC_MB

#include <dlfcn.h>
#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY "libIPSec_MB.so.1"
#define TAG 16
#define ROUND_KEYS (11 * 16)
#define SHORT (3 * WD_LINE) /* payload bytes: sound */

struct wd_ipsec_key {
    _Alignas(WD_LINE) struct gcm_key_data data;
}; /* as the library was compiled; its header says so only with LINUX defined */

/* One manager for the process: of it only the pointers to the direct GCM functions are used, which keep no state in it.
 */
static IMB_MGR *manager;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void open_library(void) {
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library) return;
    unsigned (*version)(void);
    IMB_MGR *(*allocate)(uint64_t);
    void (*release)(IMB_MGR *), (*init)(IMB_MGR *, IMB_ARCH *);
    *(void **)&version = dlsym(library, "imb_get_version");
    *(void **)&allocate = dlsym(library, "alloc_mb_mgr");
    *(void **)&release = dlsym(library, "free_mb_mgr");
    *(void **)&init = dlsym(library, "init_mb_mgr_auto");
    /* The manager is a struct of function pointers whose order is known for the header's version alone. */
    IMB_MGR *m = version && allocate && release && init && version() == IMB_VERSION_NUM ? allocate(0) : NULL;
    IMB_ARCH architecture = IMB_ARCH_NONE;
    if (m) init(m, &architecture);
    if (m && architecture != IMB_ARCH_NOAESNI && architecture != IMB_ARCH_NONE && m->gcm128_pre && m->gcm128_enc &&
        m->gcm128_dec) {
        manager = m;
        return;
    }
    if (m) release(m);
    dlclose(library);
}

struct wd_ipsec_key *wd_ipsec_key_new(const uint8_t key[16]) {
    const char *choice = getenv("WADUD_CRYPTO");
    struct wd_ipsec_key *k;
    if (choice && !strcmp(choice, "openssl")) return NULL;
    pthread_once(&once, open_library);
    if (!manager || !(k = aligned_alloc(_Alignof(struct wd_ipsec_key), sizeof *k))) return NULL;
    IMB_AES128_GCM_PRE(manager, key, &k->data);
    return k;
}

void wd_ipsec_key_free(struct wd_ipsec_key *key) {
    if (!key) return;
    OPENSSL_cleanse(key, sizeof *key);
    free(key);
}

/* Round keys come first and powers of the hash key last, the lowest at the very end, one for each block of 16 bytes.
 * Another layout would cost time only. */
void wd_ipsec_prefetch(const struct wd_ipsec_key *key, size_t length) {
    if (length > SHORT)
        wd_prefetch(key, sizeof *key);
    else {
        wd_prefetch(key, ROUND_KEYS);
        wd_prefetch((const uint8_t *)(key + 1) - SHORT, SHORT);
    }
}

void wd_ipsec_seal(const struct wd_ipsec_key *key, const uint8_t iv[12], const uint8_t *associated,
                   size_t associated_length, uint8_t *out, const uint8_t *in, size_t length, uint8_t *tag) {
    struct gcm_context_data context;
    IMB_AES128_GCM_ENC(manager, &key->data, &context, out, in, length, iv, associated, associated_length, tag, TAG);
}

bool wd_ipsec_open(const struct wd_ipsec_key *key, const uint8_t iv[12], const uint8_t *associated,
                   size_t associated_length, uint8_t *data, size_t length, const uint8_t *tag) {
    struct gcm_context_data context;
    uint8_t expected[TAG];
    IMB_AES128_GCM_DEC(manager, &key->data, &context, data, data, length, iv, associated, associated_length, expected,
                       TAG);
    return CRYPTO_memcmp(expected, tag, TAG) == 0;
}

#else

struct wd_ipsec_key *wd_ipsec_key_new(const uint8_t key[16]) { return (void)key, NULL; }

void wd_ipsec_key_free(struct wd_ipsec_key *key) { (void)key; }

void wd_ipsec_prefetch(const struct wd_ipsec_key *key, size_t length) { (void)key, (void)length; }

void wd_ipsec_seal(const struct wd_ipsec_key *key, const uint8_t iv[12], const uint8_t *associated,
                   size_t associated_length, uint8_t *out, const uint8_t *in, size_t length, uint8_t *tag) {
    (void)key, (void)iv, (void)associated, (void)associated_length, (void)out, (void)in, (void)length, (void)tag;
}

bool wd_ipsec_open(const struct wd_ipsec_key *key, const uint8_t iv[12], const uint8_t *associated,
                   size_t associated_length, uint8_t *data, size_t length, const uint8_t *tag) {
    return (void)key, (void)iv, (void)associated, (void)associated_length, (void)data, (void)length, (void)tag, false;
}

#endif
