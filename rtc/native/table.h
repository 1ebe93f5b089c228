/* A hash map from 64-bit keys to pointers: open addressing, linear probing, backward-shift deletion.
 *
 * Capacity is fixed when it is made, so that a lookup or an insertion on the packet path never allocates. Keys are
 * mixed with a secret seed: an attacker who chooses addresses cannot line up collisions. Ids that we count up ourselves
 * may keep their lowest bits, so that neighbours lie side by side and a table for thousands touches no more memory than
 * is used. Key 0 is an ordinary key; NULL values are not stored. */
#ifndef WD_TABLE_H
#define WD_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct wd_table_cell {
    uint64_t key;
    void *value;
};
struct wd_table {
    struct wd_table_cell *cells;
    size_t mask, count, limit;
    uint64_t seed;
    unsigned kept_bits;
};

static inline uint64_t wd_mix(uint64_t x) { /* the finaliser of splitmix64 */
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* kept bits of ids that count up; displaced by a full run of 64 they are still found soon */
#define WD_TABLE_COUNTED 6

/* `kept_bits` of the key are not mixed: 0 for keys that others choose. */
static inline bool wd_table_init(struct wd_table *table, size_t limit, uint64_t seed, unsigned kept_bits) {
    size_t size = 16;
    while (size < limit * 2) size *= 2;
    table->cells = calloc(size, sizeof *table->cells);
    table->mask = size - 1;
    table->count = 0;
    table->limit = limit;
    table->seed = seed;
    table->kept_bits = kept_bits;
    return table->cells != NULL;
}

static inline size_t wd_table_home(const struct wd_table *table, uint64_t key) {
    unsigned kept = table->kept_bits;
    uint64_t low = key & ((UINT64_C(1) << kept) - 1);
    return (size_t)(wd_mix(key >> kept ^ table->seed) << kept | low) & table->mask;
}

static inline void *wd_table_get(const struct wd_table *table, uint64_t key) {
    for (size_t i = wd_table_home(table, key); table->cells[i].value; i = (i + 1) & table->mask)
        if (table->cells[i].key == key) return table->cells[i].value;
    return NULL;
}

/* False when the table is full or the key is taken. */
static inline bool wd_table_add(struct wd_table *table, uint64_t key, void *value) {
    if (table->count >= table->limit) return false;
    size_t i = wd_table_home(table, key);
    for (; table->cells[i].value; i = (i + 1) & table->mask)
        if (table->cells[i].key == key) return false;
    table->cells[i] = (struct wd_table_cell){key, value};
    table->count++;
    return true;
}

static inline void wd_table_remove(struct wd_table *table, uint64_t key) {
    size_t hole = wd_table_home(table, key);
    for (;; hole = (hole + 1) & table->mask) {
        if (!table->cells[hole].value) return;
        if (table->cells[hole].key == key) break;
    }
    for (size_t i = (hole + 1) & table->mask; table->cells[i].value; i = (i + 1) & table->mask) {
        size_t home = wd_table_home(table, table->cells[i].key);
        if (((i - home) & table->mask) < ((i - hole) & table->mask)) continue; /* already between its home and here */
        table->cells[hole] = table->cells[i];
        hole = i;
    }
    table->cells[hole].value = NULL;
    table->count--;
}

#endif
