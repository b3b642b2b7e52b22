// Where on Earth a place of the map lies. All here is of a place (geonb.dashboards.explorer.place_facts), nothing of a viewer.
const lonlat = (place, x, y) => { // null where nobody knows
  if (!place.lonlat) return null
  if (place.kind === "geographic") return [x, y]
  const side = Math.sqrt(place.lonlat[0].length)
  const [u, v] = shareIn(place.bounds, x, y).map((share) => share * (side - 1))
  const [i, j] = [u, v].map((at) => clamp(Math.floor(at), 0, side - 2))
  const found = place.lonlat.map((g) => {
    const at = (r, c) => g[(j + r) * side + i + c] ?? NaN
    const [top, bottom] = [0, 1].map((r) => (1 - u + i) * at(r, 0) + (u - i) * at(r, 1))
    return (1 - v + j) * top + (v - j) * bottom
  })
  return found.every(Number.isFinite) ? found : null
}
const fromLonlat = (place, lon, lat) => { // Newton's steps on the grid of longitude and latitude
  if (place.kind === "geographic") return [lon, lat]
  let [x, y] = middleOf(place.bounds)
  const [dx, dy] = sizeOf(place.bounds).map((size) => size / 1e4)
  for (let i = 0; i < 20; i++) {
    const [a, b, c] = [lonlat(place, x, y), lonlat(place, x + dx, y), lonlat(place, x, y + dy)]
    if (!a || !b || !c) return null
    const [p, q, r, t] = [(b[0] - a[0]) / dx, (c[0] - a[0]) / dy, (b[1] - a[1]) / dx, (c[1] - a[1]) / dy]
    const det = p * t - q * r
    x += (t * (lon - a[0]) - q * (lat - a[1])) / det
    y += (p * (lat - a[1]) - r * (lon - a[0])) / det
  }
  return Number.isFinite(x + y) ? [x, y] : null
}
const sureDigits = (place, x, y) => { // decimals of a degree that interpolation gets right: few where the grid bends, or none
  if (place.kind === "geographic") return 9
  const side = Math.sqrt(place.lonlat[0].length)
  const [i, j] = shareIn(place.bounds, x, y).map((share) => clamp(Math.round(share * (side - 1)), 1, side - 2))
  const bends = place.lonlat.flatMap((g) => [1, side].map((step) => {
    const [before, here, after] = [-step, 0, step].map((by) => g[j * side + i + by] ?? NaN)
    return Math.abs(before - 2 * here + after)
  }))
  const digits = Math.floor(-Math.log10(Math.max(...bends, 1e-9) / 2))
  return Number.isNaN(digits) ? -1 : digits // the Earth's rim
}
const degrees = (v, [plus, minus], digits) => `${Math.abs(v).toFixed(digits)}° ${v < 0 ? minus : plus}`
const placeWords = (place, x, y, most) => {
  if (place.along) return `${x.toLocaleString("en", { maximumFractionDigits: 1 })} ${place.along}`
  const found = lonlat(place, x, y)
  const digits = found && Math.min(most, sureDigits(place, x, y))
  return found && digits >= 0 ? `${degrees(found[1], "NS", digits)}, ${degrees(found[0], "EW", digits)}` : ""
}
const cellWords = (place, { x, y, row, column }) => {
  const { kind, ids, bounds, along, name } = place
  if (along) return name // of a diagram there is one cell
  const [east, north] = [x, y].map((v) => v.toLocaleString("en", { maximumFractionDigits: 1 }))
  const metric = { projected: `${east} E, ${north} N; `, none: `x ${x}, y ${y}; ` }[kind] ?? ""
  const number = ids ? `, ${ids[0]} ${ids[1] + row * ids[2] + column * ids[3]}` : ""
  const words = placeWords(place, x, y, kind === "geographic" && sizeOf(bounds)[0] > 5 ? 2 : 5)
  return `${metric}${words || "place on Earth unknown"}${number}; row ${row + 1}, column ${column + 1}`
}
const cellOfId = (place, id) => { // the middle of the cell that its grid gives a number, or null
  const [, first, perRow, perColumn] = place.ids
  const grid = clickedGrid(place)
  for (let row = 0; row < grid.shape[0]; row++) {
    const column = (id - first - row * perRow) / perColumn
    if (Number.isInteger(column) && column >= 0 && column < grid.shape[1]) return cellOf(grid, row, column)
  }
  return null
}
const positionOf = (place, asked) => { // x, y of "5.3 N, 6.8 E", of two coordinates or of a cell's number; null for other words
  const numbers = asked.match(/-?\d+(\.\d+)?/g)?.map(Number) ?? []
  if (numbers.length === 1 && place.ids) {
    const cell = cellOfId(place, numbers[0])
    return cell && [cell.x, cell.y]
  }
  if (numbers.length !== 2) return null
  const lat = numbers[0] * (/\d[°\s]*S/i.test(asked) ? -1 : 1)
  const lon = numbers[1] * (/\d[°\s]*W/i.test(asked) ? -1 : 1)
  return Math.abs(lat) <= 90 && Math.abs(lon) <= 360 && place.lonlat ? fromLonlat(place, lon, lat) : numbers
}
const metresOf = (place, view) => { // of a unit of x in the middle of the view; null where nobody knows
  const [[x, y], d] = [middleOf(view), sizeOf(place.bounds)[0] / 200]
  const [from, to] = [lonlat(place, x - d, y), lonlat(place, x + d, y)]
  if (!from || !to) return null
  const [rise, run, high] = [to[1] - from[1], to[0] - from[0], (to[1] + from[1]) / 2].map((v) => (v * Math.PI) / 180)
  return (6371008.8 * Math.hypot(rise, run * Math.cos(high))) / (2 * d)
}
const tileBox = (place, grid, row, column) => { // the ground of a tile, which may be larger than its grid's step
  const { x, y } = cellOf(grid, row, column)
  return boxAround([x, y], place.tile ?? cellSize(grid))
}
