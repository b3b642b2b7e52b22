// The page that answers itself: its planes lie in it as bytes, see geonb.dashboards.frozen.pack.
const { facts: told, data } = JSON.parse(document.getElementById("facts").textContent)
const bytesOf = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))
const unzipped = async (base64) => new Uint8Array(await inflated(bytesOf(base64)))
const product = (sizes) => sizes.reduce((a, b) => a * b, 1)

const unpackedPlaces = []
const unpack = (index) => (unpackedPlaces[index] ??= unpacked(index))
const unpacked = async (index) => { // layer -> function of positions -> a plane, or null; its `value` -> one cell's byte
  const place = told.places[index]
  const all = await unzipped(data[index])
  let at = 0
  const inside = {} // of a grid: where its cells lie in what is packed
  for (const name of place.masks) {
    const count = product(place.grids[name].shape)
    inside[name] = cellsOf(all.subarray(at, (at += Math.ceil(count / 8))), count)
  }
  const found = {}
  for (const part of place.parts) {
    const layer = told.layers.find((l) => l.name === part.layer)
    if (layer) layer.exact = part.exact
    if (part.files) found[part.layer] = imagesOf(place, part, layer)
    else {
      const count = inside[part.grid]?.cells.length ?? product(place.grids[part.grid].shape)
      const size = count * product(part.dims.map((d) => d.length))
      found[part.layer] = planesOf(place, part, layer, all.subarray(at, (at += size)), inside[part.grid])
    }
  }
  return found
}
const cellsOf = (mask, count) => { // cells that are packed, and of every cell its number among them
  const [cells, numbers] = [[], new Int32Array(count).fill(-1)]
  for (let i = 0; i < count; i++) if (mask[i >> 3] & (128 >> (i & 7))) numbers[i] = cells.push(i) - 1
  return { cells, numbers }
}
const numberOf = (part, layer, positions) => part.dims.reduce((n, kept, d) => { // of a plane among those kept, -1 where it is not
  const k = kept.indexOf(positions[layer.dims[d]] ?? 0)
  return n < 0 || k < 0 ? -1 : n * kept.length + k
}, 0)
const imagesOf = (place, part, layer) => (positions) => {
  const n = numberOf(part, layer, positions)
  return n < 0 ? null : { image: true, box: place.grids[part.grid].bounds, file: bytesOf(place.files[part.files[n]]) }
}
const planesOf = (place, part, layer, bytes, inside) => {
  const grid = place.grids[part.grid]
  const size = inside?.cells.length ?? product(grid.shape)
  const plane = (positions) => {
    const n = numberOf(part, layer, positions)
    if (n < 0) return null
    const [packedCodes, [low, high]] = [bytes.subarray(n * size, (n + 1) * size), part.limits[n]]
    if (!inside) return { ...onGrid(place, grid), codes: packedCodes, low, high }
    const codes = new Uint8Array(product(grid.shape)).fill(told.nothing)
    inside.cells.forEach((cell, i) => { codes[cell] = packedCodes[i] })
    return { ...onGrid(place, grid), codes, low, high }
  }
  const value = (positions, cell) => {
    const [n, i] = [numberOf(part, layer, positions), inside ? inside.numbers[cell] : cell]
    return n < 0 || i < 0 ? null : { code: bytes[n * size + i], limits: part.limits[n] }
  }
  return Object.assign(plane, { value })
}
const onGrid = (place, { bounds, shape }) => ({ box: bounds, height: shape[0], width: shape[1], step: place.every })
const empty = (index, { grid: name, low, high }) => {
  const place = told.places[index]
  const codes = new Uint8Array(product(place.grids[name].shape)).fill(told.nothing)
  return { ...onGrid(place, place.grids[name]), codes, low: low ?? 0, high: high ?? 1 }
}

// ---- how alike tiles are: components as signed bytes, neighbours by the whole embedding ----
const vectors = []
const likenessOf = (index) => (vectors[index] ??= (async () => {
  const { times, rows, columns } = told.places[index].likeness
  const all = await unzipped(told.places[index].vectors)
  const [n, c, k] = [times * rows * columns, told.likeness.components, told.likeness.count]
  const [nearest, far] = [0, 1].map((i) => new DataView(all.buffer, n * c + i * n * k * 4, n * k * 4))
  return { n, tiles: rows * columns, bytes: new Int8Array(all.buffer, 0, n * c), nearest, far }
})())
const indexOf = ([place, time, row, column]) => {
  const { rows, columns } = told.places[place].likeness
  return (time * rows + row) * columns + column
}
const distancePlane = async (index, layer, at) => {
  const [own, other] = [await likenessOf(index), await likenessOf(at.chosen[0])]
  const [plane, of] = [empty(index, layer), indexOf(at.chosen)]
  const from = at[told.likeness.dim] * own.tiles
  for (let i = 0; i < own.tiles; i++) {
    if (own.bytes[from + i] === told.likeness.no_tile) continue
    let sum = 0
    for (let k = 0; k < told.likeness.components; k++) {
      sum += (own.bytes[k * own.n + from + i] - other.bytes[k * other.n + of]) ** 2
    }
    plane.codes[i] = Math.round(254 * Math.min(1, (sum * told.likeness.scale ** 2) / layer.high) ** layer.power)
  }
  return plane
}
const tileOf = (number) => { // of all kept tiles -> place, time, row, column
  const place = told.places.findLastIndex((p) => p.likeness.first <= number)
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
        if (d < open.length) {
          const labels = told.places[place].labels[open[d]] ?? told.dims.find((one) => one.name === open[d]).labels
          return labels.map((_, i) => read(d + 1, { ...positions, [open[d]]: i }))
        }
        const v = found[name].value(positions, cell.row * grid.shape[1] + cell.column)
        if (!v || v.code === told.nothing) return null
        return valueOf({ layer, low: v.limits[0], high: v.limits[1] }, v.code)
      }
      values[name] = read(0, at)
    }
    return [{ values }, []]
  },
  async sheet({ place }) {
    const { words, file } = told.places[place].sheet ?? {}
    return file ? [{ words }, [bytesOf(file)]] : [{ words: "" }, []]
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
const shown = () => { document.documentElement.dataset.geonb = document.getElementById("explorer").dataset.shown }
mount(document.getElementById("explorer"), told, (asked) => answers[asked.what](asked), shown)
asHighAsItsPage(outer)
