// Shapes on flat ground, in the units of a CRS. Bounds, boxes and views are [west, south, east, north].
const sizeOf = ([w, s, e, n]) => [e - w, n - s]
const middleOf = ([w, s, e, n]) => [(w + e) / 2, (s + n) / 2]
const boxAround = ([x, y], [width, height]) => [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
const shifted = ([w, s, e, n], dx, dy) => [w + dx, s + dy, e + dx, n + dy]
const zoomed = ([w, s, e, n], by, [x, y]) => [x - (x - w) * by, y - (y - s) * by, x + (e - x) * by, y + (n - y) * by]
const shareIn = ([w, s, e, n], x, y) => [(x - w) / (e - w), (n - y) / (n - s)] // from the left and from the top

// ---- grids: { bounds, shape: [rows, columns] }, rows from the north ----
const cellAt = ({ bounds, shape }, x, y) => { // { row, column } of the cell with x and its middle y, or null
  const [u, v] = shareIn(bounds, x, y)
  const [row, column] = [Math.floor(v * shape[0]), Math.floor(u * shape[1])]
  return row < 0 || column < 0 || row >= shape[0] || column >= shape[1] ? null : cellOf({ bounds, shape }, row, column)
}
const cellOf = ({ bounds: [w, s, e, n], shape }, row, column) =>
  ({ row, column, x: w + ((column + 0.5) * (e - w)) / shape[1], y: n - ((row + 0.5) * (n - s)) / shape[0] })
const cellSize = ({ bounds, shape }) => [sizeOf(bounds)[0] / shape[1], sizeOf(bounds)[1] / shape[0]]
const clickedGrid = (place) => Object.values(place.grids)[0]

// ---- outlines: lists of [x, y] ----
const within = (points, x, y) => {
  let odd = false
  for (let i = 0, j = points.length - 1; i < points.length; j = i++) {
    const [[xi, yi], [xj, yj]] = [points[i], points[j]]
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) odd = !odd
  }
  return odd
}
const boundsOf = (points) => {
  const [x, y] = [0, 1].map((axis) => points.map((p) => p[axis]))
  return [Math.min(...x), Math.min(...y), Math.max(...x), Math.max(...y)]
}
const corners = ([w, s, e, n]) => [[w, s], [w, n], [e, n], [e, s]]
