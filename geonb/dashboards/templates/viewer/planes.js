// Planes: a layer at one position. All here is of the planes given, nothing of a viewer. A plane has
//   layer, box, height, width, step    whose it is, the ground it covers, its cells, and every which of the data's cells they are
//   codes, low, high, nothing          a byte a cell: a class, or a number's share between low and high; the byte of nothing
//   values                             numbers in full, where they were asked for
//   image, canvas                      an image has these instead of codes
const inflated = (bytes) =>
  new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer()
const summed = (codes, width) => { // along y, then x, modulo 256: what geonb.dashboards.layers.filtered took
  for (let i = width; i < codes.length; i++) codes[i] += codes[i - width]
  for (let i = 1; i < codes.length; i++) if (i % width) codes[i] += codes[i - 1]
  return codes
}
const decoded = async (layer, about, file, nothing) => {
  const plane = { ...about, layer, nothing }
  if (about.image) plane.canvas = file.byteLength ? await createImageBitmap(new Blob([file], { type: "image/webp" })) : null
  if (about.image || about.codes) return plane
  const bytes = await inflated(file)
  if (!about.exact) return { ...plane, codes: (about.filtered ? summed : (codes) => codes)(new Uint8Array(bytes), about.width) }
  const values = new Float32Array(bytes)
  return { ...plane, values, codes: Uint8Array.from(values, (v) => (Number.isFinite(v) ? 0 : nothing)) }
}
const valueOf = ({ layer, low, high, nothing }, code) => {
  if (code === nothing) return NaN
  return layer.kind === "classes" ? code : low + (high - low) * (code / 254) ** (1 / layer.power)
}
const shareOf = ({ layer, low, high }, value) => clamp((value - low) / (high - low), 0, 1) ** layer.power
const valueAt = (plane, i) => plane.values?.[i] ?? valueOf(plane, plane.codes[i])
const isThere = (plane, i) => plane.codes[i] !== plane.nothing
const indexAt = ({ box, height, width }, x, y) => {
  const cell = cellAt({ bounds: box, shape: [height, width] }, x, y)
  return cell ? cell.row * width + cell.column : -1
}
const cellBox = ({ box: [w, s, e, n], width, height }, i) => {
  const [dx, dy] = [(e - w) / width, (n - s) / height]
  const [x, y] = [w + (i % width) * dx, n - Math.floor(i / width) * dy]
  return [x, y - dy, x + dx, y]
}

// ---- planes that are made of others ----
const judged = (layer, [guess, truth], least) => { // where a guess and its truth disagree; a warning begins at `least`
  const rare = guess.layer.kind === "numbers"
  const classes = rare ? { labels: ["neither", "hit", "miss", "false alarm"], colours: JUDGED }
    : { labels: ["right", "wrong"], colours: RIGHT }
  const codes = guess.codes.map((g, i) => {
    const t = truth.codes[i]
    if (!isThere(guess, i) || !isThere(truth, i) || (rare && t > 1)) return guess.nothing
    if (!rare) return Number(g !== t)
    const warned = valueOf(guess, g) >= least - 1e-9
    return warned ? (t === 1 ? 1 : 3) : t === 1 ? 2 : 0
  })
  return { ...guess, codes, layer: { ...layer, kind: "classes", ...classes } }
}
const difference = (one, other) => {
  const { layer, nothing } = one
  if (layer.kind === "classes") {
    const codes = one.codes.map((v, i) => (isThere(one, i) && isThere(other, i) ? Number(v !== other.codes[i]) : nothing))
    return { ...one, codes, layer: { ...layer, labels: ["the same", "different"], colours: RIGHT } }
  }
  const values = Float32Array.from(one.codes, (v, i) => valueOf(one, v) - valueOf(other, other.codes[i]))
  const most = values.reduce((m, v) => (Number.isFinite(v) ? Math.max(m, Math.abs(v)) : m), 0) || 1
  const codes = Uint8Array.from(values, (v) => (Number.isFinite(v) ? Math.round(127 + (127 * v) / most) : nothing))
  const own = { ...layer, colours: DIVERGING, power: 1, ticks: [-most, 0, most], difference: true }
  return { ...one, codes, low: -most, high: most, layer: own }
}
const grouped = (plane, groups) => { // every part in the colour of its mean
  const [sum, n] = [new Float64Array(256), new Float64Array(256)]
  plane.codes.forEach((v, i) => {
    if (!isThere(plane, i) || !isThere(groups, i)) return
    sum[groups.codes[i]] += valueOf(plane, v)
    n[groups.codes[i]]++
  })
  const code = Array.from(sum, (s, g) => (n[g] ? Math.round(254 * shareOf(plane, s / n[g])) : plane.nothing))
  const codes = plane.codes.map((v, i) => (isThere(plane, i) && isThere(groups, i) ? code[groups.codes[i]] : plane.nothing))
  return { ...plane, codes, mean: true }
}
const ringsAround = (plane, code) => { // outlines of the cells of one class: edges to other cells, the class on their right
  const { width, height, box: [w, , , n] } = plane
  const [dx, dy] = cellSize({ bounds: plane.box, shape: [height, width] })
  const is = (r, c) => r >= 0 && c >= 0 && r < height && c < width && plane.codes[r * width + c] === code
  const edges = new Map() // from a corner, by its number, to the corners that follow
  const edge = (from, to) => {
    const [start, end] = [from, to].map(([row, column]) => row * (width + 1) + column)
    edges.set(start, [...(edges.get(start) ?? []), end])
  }
  for (let r = 0; r < height; r++) for (let c = 0; c < width; c++) if (is(r, c)) {
    if (!is(r - 1, c)) edge([r, c], [r, c + 1])
    if (!is(r, c + 1)) edge([r, c + 1], [r + 1, c + 1])
    if (!is(r + 1, c)) edge([r + 1, c + 1], [r + 1, c])
    if (!is(r, c - 1)) edge([r + 1, c], [r, c])
  }
  const rings = []
  for (const start of edges.keys()) while (edges.get(start).length) {
    const corner = [start]
    while (edges.get(corner.at(-1))?.length) corner.push(edges.get(corner.at(-1)).pop())
    rings.push(corner.map((i) => [w + (i % (width + 1)) * dx, n - Math.floor(i / (width + 1)) * dy]))
  }
  return rings
}

// ---- colours ----
const colourTable = (plane, least, veil) => {
  const { layer } = plane
  const out = new Uint32Array(256)
  if (layer.kind === "classes") layer.colours.forEach((c, i) => { out[i] = c ? packed(rgb(c)) : 0 })
  else for (let v = 0; v < 255; v++) {
    const [r, g, b, a] = mixed(layer.colours, v / 254)
    out[v] = least && valueOf(plane, v) < least - 1e-9 ? 0 : packed([r, g, b], a)
  }
  out[plane.nothing] = veil ? packed(rgb(veil), 115) : 0
  return out
}
const painted = (plane, least = 0, veil = null) => { // a canvas of the plane's own size, kept
  if (plane.image) return plane.canvas
  const key = `${least} ${veil}`
  if (plane.paint?.key === key && plane.paint.codes === plane.codes) return plane.paint.canvas // of another: its codes differ
  const canvas = Object.assign(document.createElement("canvas"), { width: plane.width, height: plane.height })
  const picture = new ImageData(plane.width, plane.height)
  const [pixels, colour] = [new Uint32Array(picture.data.buffer), colourTable(plane, least, veil)]
  for (let i = 0; i < pixels.length; i++) pixels[i] = colour[plane.codes[i]]
  canvas.getContext("2d").putImageData(picture, 0, 0)
  plane.paint = { key, codes: plane.codes, canvas }
  return canvas
}
