// The page that answers itself: its planes lie in it as bytes, see geonb.dashboards.frozen.pack.
const { facts: told, data } = JSON.parse(document.getElementById("facts").textContent)
const bytesOf = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))
const unzipped = async (base64) => new Uint8Array(await inflated(bytesOf(base64)))
const product = (sizes) => sizes.reduce((a, b) => a * b, 1)

const unpackedPlaces = []
const unpack = (index) => (unpackedPlaces[index] ??= (async () => { // layer -> function of positions -> { codes, ... } or null
  const place = told.places[index]
  const all = await unzipped(data[index])
  let at = 0
  const inside = {} // of a grid: where its cells lie in what is packed
  for (const name of place.masks) {
    const cells = product(place.grids[name].shape)
    const packedMask = all.subarray(at, (at += Math.ceil(cells / 8)))
    inside[name] = []
    for (let i = 0; i < cells; i++) if (packedMask[i >> 3] & (128 >> (i & 7))) inside[name].push(i)
  }
  const found = {}
  for (const part of place.parts) {
    const grid = place.grids[part.grid]
    const layer = told.layers.find((l) => l.name === part.layer)
    if (layer) layer.exact = part.exact
    const number = (positions) => part.dims.reduce((n, kept, d) => { const k = kept.indexOf(positions[layer.dims[d]] ?? 0); return n < 0 || k < 0 ? -1 : n * kept.length + k }, 0)
    if (part.files) { found[part.layer] = (positions) => { const n = number(positions); return n < 0 ? null : { image: true, box: grid.bounds, file: bytesOf(place.files[part.files[n]]) } }; continue }
    const [cells, size] = [inside[part.grid], inside[part.grid]?.length ?? product(grid.shape)]
    const from = at
    at += size * product(part.dims.map((d) => d.length))
    const code = (n, cell) => all[from + n * size + (cells ? cells.index[cell] : cell)]
    if (cells) { cells.index = new Int32Array(product(grid.shape)).fill(-1); cells.forEach((c, i) => { cells.index[c] = i }) }
    found[part.layer] = Object.assign((positions) => {
      const n = number(positions)
      if (n < 0) return null
      let codes = all.subarray(from + n * size, from + (n + 1) * size)
      if (cells) { const full = new Uint8Array(product(grid.shape)).fill(told.nothing); cells.forEach((c, i) => { full[c] = codes[i] }); codes = full }
      return { codes, low: part.limits[n][0], high: part.limits[n][1], box: grid.bounds, height: grid.shape[0], width: grid.shape[1], step: place.every }
    }, { value: (positions, cell) => { const n = number(positions); return n < 0 || (cells && cells.index[cell] < 0) ? null : { code: code(n, cell), limits: part.limits[n] } } })
  }
  return found
})())
const empty = (place, layer) => { const grid = told.places[place].grids[layer.grid]; return { codes: new Uint8Array(product(grid.shape)).fill(told.nothing), low: layer.low ?? 0, high: layer.high ?? 1, box: grid.bounds, height: grid.shape[0], width: grid.shape[1], step: told.places[place].every } }

// ---- how alike tiles are: components as signed bytes, neighbours by the whole embedding ----
const vectors = []
const likenessOf = (index) => (vectors[index] ??= (async () => {
  const { times, rows, columns } = told.places[index].likeness
  const all = await unzipped(told.places[index].vectors)
  const [n, c, k] = [times * rows * columns, told.likeness.components, told.likeness.count]
  return { n, tiles: rows * columns, bytes: new Int8Array(all.buffer, 0, n * c), nearest: new DataView(all.buffer, n * c, n * k * 4), far: new DataView(all.buffer, n * c + n * k * 4, n * k * 4) }
})())
const indexOf = ([place, time, row, column]) => { const l = told.places[place].likeness; return (time * l.rows + row) * l.columns + column }
const distancePlane = async (index, layer, at) => {
  const [own, other] = [await likenessOf(index), await likenessOf(at.chosen[0])]
  const [plane, of] = [empty(index, layer), indexOf(at.chosen)]
  const from = at[told.likeness.dim] * own.tiles
  for (let i = 0; i < own.tiles; i++) {
    if (own.bytes[from + i] === told.likeness.no_tile) continue
    let sum = 0
    for (let k = 0; k < told.likeness.components; k++) sum += (own.bytes[k * own.n + from + i] - other.bytes[k * other.n + of]) ** 2
    plane.codes[i] = Math.round(254 * Math.min(1, (sum * told.likeness.scale ** 2) / layer.high) ** layer.power)
  }
  return plane
}
const tileOf = (number) => { // of all kept tiles -> place, time, row, column
  const place = told.places.findIndex((p) => number >= p.likeness.first && number < p.likeness.first + p.likeness.times * p.likeness.rows * p.likeness.columns)
  const { first, rows, columns } = told.places[place].likeness
  const i = number - first
  return [place, Math.floor(i / (rows * columns)), Math.floor((i % (rows * columns)) / columns), i % columns]
}
const tilePicture = async ([place, time, row, column]) => { // cut out of its scene
  const p = told.places[place]
  const layer = told.layers.find((l) => l.kind === "image" && l.name === told.below)
  const scene = layer && (await unpack(place))[layer.name]?.({ [told.likeness.dim]: time })
  if (!scene) return new Uint8Array()
  const image = await createImageBitmap(new Blob([scene.file], { type: "image/webp" }))
  const tile = tileBox(p, p.grids[told.likeness.grid], row, column)
  const [[u, v], [kx, ky]] = [shareIn(scene.box, tile[0], tile[3]), sizeOf(tile).map((size, i) => size / sizeOf(scene.box)[i])]
  const [wide, high] = [image.width, image.height]
  const cut = Object.assign(document.createElement("canvas"), { width: 184, height: 184 })
  cut.getContext("2d").drawImage(image, u * wide, v * high, kx * wide, ky * high, 0, 0, 184, 184)
  return new Uint8Array(await (await new Promise((done) => cut.toBlob(done))).arrayBuffer())
}

const answers = {
  async planes({ place, layers }) {
    const found = await unpack(place)
    const out = await Promise.all(layers.map(async ({ layer: name, at }) => {
      const layer = told.layers.find((l) => l.name === name)
      if (told.likeness?.layer === name) return distancePlane(place, layer, at)
      return found[name]?.(at) ?? empty(place, layer)
    }))
    return [{ planes: out }, out.map((p) => p.file ?? null)]
  },
  async values({ place, x, y, layers }) {
    const found = await unpack(place)
    const values = {}
    for (const { layer: name, at } of layers) {
      const layer = told.layers.find((l) => l.name === name)
      const grid = told.places[place].grids[layer.grid]
      const cell = cellAt(grid, x, y)
      if (!found[name]?.value || !cell) { values[name] = null; continue }
      const open = layer.dims.filter((d) => !(d in at))
      const read = (d, positions) => {
        if (d < open.length) { const own = told.places[place].labels[open[d]] ?? told.dims.find((one) => one.name === open[d]).labels; return own.map((_, i) => read(d + 1, { ...positions, [open[d]]: i })) }
        const v = found[name].value(positions, cell.row * grid.shape[1] + cell.column)
        if (!v || v.code === told.nothing) return null
        return valueOf({ layer, low: v.limits[0], high: v.limits[1] }, v.code)
      }
      values[name] = read(0, at)
    }
    return [{ values }, []]
  },
  async alike({ chosen }) {
    const own = await likenessOf(chosen[0])
    const i = indexOf(chosen)
    if (own.bytes[i] === told.likeness.no_tile) return [{ alike: [] }, []]
    const found = [{ chosen, far: 0 }]
    for (let k = 0; k < told.likeness.count; k++) {
      const number = own.nearest.getInt32((i * told.likeness.count + k) * 4, true)
      if (number >= 0) found.push({ chosen: tileOf(number), far: own.far.getFloat32((i * told.likeness.count + k) * 4, true) })
    }
    for (const one of found) one.label = told.places[one.chosen[0]].likeness.labels[indexOf(one.chosen)]
    return [{ alike: found }, await Promise.all(found.map((one) => tilePicture(one.chosen)))]
  },
}
const outer = outerFrame()
if (outer) told.window_px = window.parent.innerHeight
mount(document.getElementById("explorer"), told, (asked) => answers[asked.what](asked), () => { document.documentElement.dataset.geonb = document.getElementById("explorer").dataset.shown })
asHighAsItsPage(outer)
