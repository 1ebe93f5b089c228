// How tiles share the stage: pure geometry. All tiles are equal; the number of columns that gives the largest tile wins.

/** Narrower tiles than this cannot be read: the grid scrolls instead. */
const MIN_TILE_PX = 132;

/** @typedef {{columns: number, width: number, height: number, scrolls: boolean}} Grid sizes in CSS pixels */

/**
 * @param {number} count tiles
 * @param {number} width of the stage
 * @param {number} height of the stage
 * @param {number} gap between tiles
 * @returns {Grid}
 */
export function bestGrid(count, width, height, gap) {
  // Faces need neither the full width of a monitor nor the full height of a phone: bounds between 7:10 and 16:9.
  const fit = (/** @type {number} */ columns) => {
    const rows = Math.ceil(count / columns);
    const cellWidth = (width - gap * (columns - 1)) / columns;
    const cellHeight = (height - gap * (rows - 1)) / rows;
    const ratio = Math.min(16 / 9, Math.max(0.7, cellWidth / cellHeight));
    const tileWidth = Math.floor(Math.min(cellWidth, cellHeight * ratio));
    return { columns, width: tileWidth, height: Math.floor(tileWidth / ratio), scrolls: false };
  };
  let best = fit(1);
  for (let columns = 2; columns <= count; columns += 1) {
    const grid = fit(columns);
    if (grid.width * grid.height > best.width * best.height) best = grid;
  }
  if (best.width >= MIN_TILE_PX || count === 0) return best;
  const columns = Math.max(1, Math.floor((width + gap) / (MIN_TILE_PX + gap)));
  const tileWidth = Math.floor((width - gap * (columns - 1)) / columns);
  return { columns, width: tileWidth, height: tileWidth, scrolls: true };
}
