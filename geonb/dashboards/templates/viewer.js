// The explorer's viewer. `facts` say what there is (geonb.dashboards.explorer), `ask` answers: a kernel, a server, or the page itself.
// mount(root, facts, ask, told) draws it into an element; told(state) hears of every change. Nothing is asked of any network.
const h = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag)
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value)
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value)
  }
  made.append(...children.flat().filter((c) => c !== null && c !== undefined))
  return made
}
const text = (s) => String(s).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c])
const clamp = (v, low, high) => Math.min(high, Math.max(low, v))
const rgb = (c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16))
const packed = ([r, g, b], a = 255) => ((a << 24) | (b << 16) | (g << 8) | r) >>> 0
const mixed = (stops, share) => {
  const at = clamp(share, 0, 1) * (stops.length - 1)
  const low = Math.min(Math.floor(at), stops.length - 2)
  const [from, to] = [stops[low], stops[low + 1]].map((c) => [...rgb(c), c.length > 7 ? parseInt(c.slice(7), 16) : 255])
  return from.map((v, i) => Math.round(v + (at - low) * (to[i] - v)))
}
const DIVERGING = ["#2166ac", "#67a9cf", "#d1e5f0", "#f7f7f7", "#fddbc7", "#ef8a62", "#b2182b"]
const RIGHT = ["#dfe7ea", "#b5400f"] // agrees, does not
const JUDGED = ["", "#1b7837", "#c51b7d", "#f4a736"] // neither, hit, miss, false alarm
const DASHES = ["", "6 3", "2 2", "8 3 2 3", "1 3", "10 4", "4 4", "6 2 1 2", "3 1"]

export function mount(root, facts, ask, told = () => {}) {
  const id = `geonb${Math.random().toString(36).slice(2, 8)}` // several viewers of a page may each have loaded this file
  const { dims, layers, places, nothing } = facts
  const layerOf = Object.fromEntries(layers.map((l) => [l.name, l]))
  const dimOf = Object.fromEntries(dims.map((d) => [d.name, d]))
  const shown = layers.filter((l) => l.shown)
  const pictures = shown.filter((l) => l.kind !== "error")
  const colours = facts.model_colours
  const state = {
    place: 0, at: Object.fromEntries(dims.map((d) => [d.name, d.start])), below: facts.below, top: facts.top, opacity: facts.opacity,
    threshold: null, outlined: true, compare: "off", other: { layer: facts.top, at: {} }, swipe: 0.5, group: false,
    view: null, chosen: null, like: facts.likeness?.start ?? null, region: null,
  }
  if (state.like) { state.place = state.like[0]; state.at[facts.likeness.dim] = state.like[1] }

  // ---- what is asked for, and kept -----------------------------------------------------------------------------------------
  const place = () => places[state.place]
  const labels = (dim) => place().labels[dim.name] ?? dim.labels
  const monthsOn = (month, by) => { const [y, m] = month.split("-").map(Number); const n = y * 12 + m - 1 + by; return `${Math.floor(n / 12)}-${String((n % 12) + 1).padStart(2, "0")}` }
  const firstMonth = (dim) => { const own = dimOf[dim.ahead_of]; return labels(own)[state.at[own.name]] }
  const dimsOf = (layer) => (!layer ? [] : layer.kind === "error" ? [...new Set(layer.of.flatMap((n) => layerOf[n].dims))] : layer.dims)
  const positions = (layer, at) => {
    const here = Object.fromEntries(layer.dims.map((d) => [d, Math.min(at[d] ?? state.at[d], labels(dimOf[d]).length - 1)]))
    return facts.likeness?.layer === layer.name ? { ...here, chosen: state.like } : here
  }
  const cache = new Map()
  const remember = (key, value) => {
    cache.delete(key)
    cache.set(key, value)
    if (cache.size > 80) cache.delete(cache.keys().next().value)
    return value
  }
  const wantedOf = (layer, at) => (layer.kind === "error" ? layer.of.map((n) => ({ layer: n, at: positions(layerOf[n], at) })) : [{ layer: layer.name, at: positions(layer, at) }])
  const keyOf = (one, window) => JSON.stringify([state.place, one.layer, one.at, window])
  const planes = async (wanted, view = state.view, pixels = screen(), exact = false) => {
    const window = facts.whole ? null : [view, pixels, exact]
    const missing = wanted.filter((one) => !cache.has(keyOf(one, window)))
    if (missing.length) {
      const answer = ask({ what: "planes", place: state.place, view, pixels, exact, layers: missing })
      missing.forEach((one, i) => remember(keyOf(one, window), answer.then(([json, files]) => read(layerOf[one.layer], json.planes[i], files[i]))))
    }
    return Promise.all(wanted.map((one) => { const key = keyOf(one, window); return remember(key, cache.get(key)) }))
  }
  const read = async (layer, about, file) => {
    const plane = { ...about, layer }
    if (about.image) plane.canvas = file.byteLength ? await createImageBitmap(new Blob([file], { type: "image/webp" })) : null
    else if (about.codes) plane.codes = about.codes
    else {
      const bytes = await new Response(new Blob([file]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer()
      plane.values = about.exact ? new Float32Array(bytes) : null
      plane.codes = plane.values ? Uint8Array.from(plane.values, (v) => (Number.isFinite(v) ? 0 : nothing)) : new Uint8Array(bytes)
    }
    return plane
  }
  const valueOf = (plane, code) => (code === nothing ? NaN : plane.layer.kind === "classes" ? code : plane.low + (plane.high - plane.low) * (code / 254) ** (1 / plane.layer.power))
  const valueAt = (plane, i) => plane.values?.[i] ?? valueOf(plane, plane.codes[i])
  const figure = (v, layer) => {
    if (v === null || !Number.isFinite(v)) return "none"
    if (layer.kind === "classes") return layer.labels[v] ?? "none"
    if (layer.form === "percent") return `${100 * v >= 9.95 ? Math.round(100 * v) : +(100 * v).toPrecision(2)} %`
    const digits = layer.form === "integer" ? 0 : Number(layer.form)
    const number = layer.form === "integer" || Math.abs(v) >= 1000 ? Math.round(v).toLocaleString("en") : String(+v.toPrecision(digits))
    const capped = layer.high !== null && v === layer.high ? "≥ " : "" // colours, and a page's bytes, end there
    return capped + (layer.unit ? `${number} ${layer.unit}` : number)
  }
  const cellOf = (plane, x, y) => {
    const [west, south, east, north] = plane.box
    const [column, row] = [Math.floor(((x - west) / (east - west)) * plane.width), Math.floor(((north - y) / (north - south)) * plane.height)]
    return column < 0 || row < 0 || column >= plane.width || row >= plane.height ? -1 : row * plane.width + column
  }

  // ---- planes that are made of others --------------------------------------------------------------------------------------
  const threshold = () => facts.threshold.steps?.[state.threshold] ?? 0
  const derived = (plane, changes) => ({ ...plane, made: null, ...changes }) // what was painted of the plane is not painted of this one
  const judged = (layer, [guess, truth]) => { // where a guess and its truth disagree
    const codes = new Uint8Array(guess.codes.length).fill(nothing)
    const rare = guess.layer.kind === "numbers"
    const made = derived(guess, { codes, layer: { ...layer, kind: "classes", labels: rare ? ["neither", "hit", "miss", "false alarm"] : ["right", "wrong"], colours: rare ? JUDGED : RIGHT } })
    codes.forEach((_, i) => {
      const [g, t] = [guess.codes[i], truth.codes[i]]
      if (g === nothing || t === nothing || (rare && t > 1)) return
      codes[i] = rare ? (valueOf(guess, g) >= threshold() - 1e-9 ? (t === 1 ? 1 : 3) : t === 1 ? 2 : 0) : Number(g !== t)
    })
    return made
  }
  const difference = (one, other) => {
    if (one.layer.kind === "classes") return derived(one, { codes: one.codes.map((v, i) => (v === nothing || other.codes[i] === nothing ? nothing : Number(v !== other.codes[i]))), layer: { ...one.layer, labels: ["the same", "different"], colours: RIGHT } })
    const values = Float32Array.from(one.codes, (v, i) => valueOf(one, v) - valueOf(other, other.codes[i]))
    const most = values.reduce((m, v) => (Number.isFinite(v) ? Math.max(m, Math.abs(v)) : m), 0) || 1
    const codes = Uint8Array.from(values, (v) => (Number.isFinite(v) ? Math.round(127 + (127 * v) / most) : nothing))
    return derived(one, { codes, low: -most, high: most, layer: { ...one.layer, colours: DIVERGING, power: 1, ticks: [-most, 0, most], difference: true } })
  }
  const grouped = (plane, groups) => { // every part in the colour of its mean
    const [sum, n] = [new Float64Array(256), new Float64Array(256)]
    plane.codes.forEach((v, i) => { if (v !== nothing && groups.codes[i] !== nothing) { sum[groups.codes[i]] += valueOf(plane, v); n[groups.codes[i]]++ } })
    const mean = sum.map((s, g) => (n[g] ? s / n[g] : NaN))
    const code = mean.map((v) => (Number.isFinite(v) ? Math.round(254 * clamp((v - plane.low) / (plane.high - plane.low), 0, 1) ** plane.layer.power) : nothing))
    return derived(plane, { codes: plane.codes.map((v, i) => (v === nothing || groups.codes[i] === nothing ? nothing : code[groups.codes[i]])), mean: true })
  }

  // ---- colours -------------------------------------------------------------------------------------------------------------
  const table = (plane, least, veil) => {
    const { layer } = plane
    const out = new Uint32Array(256)
    if (layer.kind === "classes") layer.colours.forEach((c, i) => { out[i] = c ? packed(rgb(c)) : 0 })
    else for (let v = 0; v < 255; v++) {
      const [r, g, b, a] = mixed(layer.colours, v / 254)
      out[v] = least && valueOf(plane, v) < least - 1e-9 ? 0 : packed([r, g, b], a)
    }
    out[nothing] = veil ? packed(rgb(veil), 115) : 0
    return out
  }
  const painted = (plane, least = 0, veil = null) => { // a canvas of the plane's own size
    if (plane.image) return plane.canvas
    const key = `${least} ${veil}`
    if (plane.key === key && plane.of === plane.codes) return plane.made // a plane that was made of it has other codes
    const made = Object.assign(document.createElement("canvas"), { width: plane.width, height: plane.height })
    const picture = new ImageData(plane.width, plane.height)
    const [pixels, colour] = [new Uint32Array(picture.data.buffer), table(plane, least, veil)]
    for (let i = 0; i < pixels.length; i++) pixels[i] = colour[plane.codes[i]]
    made.getContext("2d").putImageData(picture, 0, 0)
    Object.assign(plane, { key, made, of: plane.codes })
    return made
  }

  // ---- the map -------------------------------------------------------------------------------------------------------------
  const MARGIN = { left: 54, bottom: 20 }
  const canvas = h("canvas", { class: "map", tabindex: 0, role: "img", "aria-describedby": `${id}-keys` })
  const under = h("div", { class: "under", "aria-live": "polite" })
  const title = h("div", { class: "title" })
  let size = [600, 400] // css px of the whole canvas
  let drawn = null // what is on the screen: { below, top, other, marks }
  const screen = () => [Math.round((size[0] - MARGIN.left) * scale()), Math.round((size[1] - MARGIN.bottom) * scale())]
  const scale = () => Math.min(2, window.devicePixelRatio || 1)
  const inside = () => [size[0] - MARGIN.left, size[1] - MARGIN.bottom]
  const toScreen = (x, y) => { const [w, s, e, n] = state.view; const [a, b] = inside(); return [MARGIN.left + ((x - w) / (e - w)) * a, ((n - y) / (n - s)) * b] }
  const toMap = (px, py) => { const [w, s, e, n] = state.view; const [a, b] = inside(); return [w + ((px - MARGIN.left) / a) * (e - w), n - (py / b) * (n - s)] }
  const fitted = (bounds) => { // the view of the map's shape that holds bounds
    const [w, s, e, n] = bounds
    const [a, b] = inside()
    const unit = Math.max(((e - w) * place().squeeze) / a, (n - s) / b) || 1
    const [x, y, dx, dy] = [(w + e) / 2, (s + n) / 2, (a * unit) / 2 / place().squeeze, (b * unit) / 2]
    return [x - dx, y - dy, x + dx, y + dy]
  }
  let home = null // the view of everything: it stays that when the window changes
  const showAll = () => { state.view = home = fitted(place().bounds) }
  const resize = () => {
    const width = Math.max(260, canvas.parentElement.clientWidth)
    const [w, s, e, n] = place().bounds
    const ratio = (n - s) / ((e - w) * place().squeeze)
    const height = clamp((width - MARGIN.left) * ratio, 200, Math.max(300, Math.min(facts.most_px ?? 900, 0.74 * (facts.window_px ?? window.innerHeight)))) + MARGIN.bottom
    if (Math.abs(size[0] - width) < 1 && Math.abs(size[1] - height) < 1 && state.view) return
    const [old, before] = [state.view, inside()]
    size = [width, height]
    Object.assign(canvas, { width: Math.round(width * scale()), height: Math.round(height * scale()) })
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` })
    if (!old || old === home) showAll()
    else { // the same middle and scale
      const [x, y, dx, dy] = [(old[0] + old[2]) / 2, (old[1] + old[3]) / 2, ...inside().map((px, i) => ((old[2 + i] - old[i]) * px) / before[i] / 2)]
      state.view = [x - dx, y - dy, x + dx, y + dy]
    }
    refresh()
  }

  const lineColours = () => (facts.land ? { coast: "#5b6b78", borders: "#8d7b68" } : { coast: "#ffe08a", borders: "#c9b48a" })
  const degrees = (v, [plus, minus], step) => `${+Math.abs(v).toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9)))}° ${v < 0 ? minus : plus}`
  const nice = (span, most) => { const raw = span / most; const p = 10 ** Math.floor(Math.log10(raw)); return [1, 2, 5, 10].map((k) => k * p).find((v) => v >= raw) }
  const drawTo = (pen, whole, k, top = 0) => {
    const [a, b] = inside()
    pen.setTransform(k, 0, 0, k, 0, 0)
    pen.fillStyle = "#fff"
    pen.fillRect(0, 0, ...whole)
    pen.translate(0, top)
    pen.save()
    pen.beginPath()
    pen.rect(MARGIN.left, 0, a, b)
    pen.clip()
    pen.fillStyle = facts.ground
    pen.fillRect(MARGIN.left, 0, a, b)
    if (facts.land) {
      pen.fillStyle = facts.land
      for (const ring of place().lines.land ?? []) { trace(pen, ring); pen.fill() }
    }
    if (drawn) {
      lay(pen, drawn.below, 1)
      const cut = MARGIN.left + state.swipe * a
      if (drawn.other && state.compare === "swipe") {
        clipped(pen, MARGIN.left, cut, b, () => lay(pen, drawn.top, state.opacity, true))
        clipped(pen, cut, MARGIN.left + a, b, () => lay(pen, drawn.other, state.opacity, true))
      } else lay(pen, drawn.top, state.opacity, true)
      for (const [name, colour] of Object.entries(lineColours())) {
        pen.strokeStyle = colour
        pen.lineWidth = 1.2
        for (const line of place().lines[name] ?? []) { trace(pen, line); pen.stroke() }
      }
      outlines(pen)
      if (drawn.other && state.compare === "swipe") {
        pen.strokeStyle = "#fff"; pen.lineWidth = 4; pen.beginPath(); pen.moveTo(cut, 0); pen.lineTo(cut, b); pen.stroke()
        pen.strokeStyle = "#111"; pen.lineWidth = 1.5; pen.stroke()
        badge(pen, cut - 6, 16, sideName(), "right")
        badge(pen, cut + 6, 16, sideName(state.other), "left")
      }
    }
    chosenMarks(pen)
    if (state.region?.points) { pen.lineWidth = 2; pen.strokeStyle = "#d7191c"; pen.setLineDash([6, 4]); trace(pen, state.region.points, true); pen.stroke(); pen.setLineDash([]) }
    scaleBar(pen, a, b)
    pen.restore()
    axes(pen, a, b)
  }
  const clipped = (pen, from, to, high, draw) => { pen.save(); pen.beginPath(); pen.rect(from, 0, to - from, high); pen.clip(); draw(); pen.restore() }
  const trace = (pen, line, closed = false) => { pen.beginPath(); line.forEach(([x, y], i) => pen[i ? "lineTo" : "moveTo"](...toScreen(x, y))); if (closed) pen.closePath() }
  const lay = (pen, plane, opacity, isTop = false) => {
    if (!plane) return
    const picture = painted(plane, isTop && usesThreshold(plane.layer) ? threshold() : 0, isTop && facts.veil.length ? facts.veil[0] : null)
    if (!picture) return
    const [west, south, east, north] = plane.box
    const [[x0, y0], [x1, y1]] = [toScreen(west, north), toScreen(east, south)]
    if (isTop && facts.veil.length) { // what lies beyond the data has nothing either
      pen.fillStyle = `${facts.veil[0]}73`
      pen.beginPath(); pen.rect(0, 0, ...size); pen.rect(x0, y0, x1 - x0, y1 - y0); pen.fill("evenodd")
    }
    pen.globalAlpha = opacity
    pen.imageSmoothingEnabled = Boolean(plane.image) && x1 - x0 < 2 * picture.width
    pen.drawImage(picture, x0, y0, x1 - x0, y1 - y0)
    pen.globalAlpha = 1
  }
  const badge = (pen, x, y, words, align) => {
    pen.font = "600 12px system-ui, sans-serif"
    pen.textAlign = align
    const wide = pen.measureText(words).width + 8
    pen.fillStyle = "rgba(255,255,255,.85)"
    pen.fillRect(x + { left: -4, center: -wide / 2, right: 4 - wide }[align], y - 12, wide, 17)
    pen.fillStyle = "#111"
    pen.fillText(words, x, y)
  }
  const cellBox = (plane, i) => {
    const [west, south, east, north] = plane.box
    const [dx, dy] = [(east - west) / plane.width, (north - south) / plane.height]
    const [x, y] = [west + (i % plane.width) * dx, north - Math.floor(i / plane.width) * dy]
    return [x, y - dy, x + dx, y]
  }
  const frameCell = (pen, [w, s, e, n], inset = 0) => {
    const [[x0, y0], [x1, y1]] = [toScreen(w, n), toScreen(e, s)]
    const [px, py] = [(x1 - x0) * inset, (y1 - y0) * inset]
    pen.strokeRect(x0 + px, y0 + py, x1 - x0 - 2 * px, y1 - y0 - 2 * py)
  }
  const outlines = (pen) => {
    if (drawn.marks && state.outlined) {
      pen.strokeStyle = "#000"
      pen.lineWidth = 1
      drawn.marks.codes.forEach((v, i) => { if (v === 1) frameCell(pen, cellBox(drawn.marks, i), 0.08) })
    }
    for (const set of facts.outlines ?? []) if (set.shown !== false && set.place === state.place) {
      pen.strokeStyle = set.colour
      pen.lineWidth = 1.6
      for (const box of set.boxes) frameCell(pen, box)
    }
  }
  const chosenMarks = (pen) => {
    for (const [box, colour, words, dashed] of likeBoxes()) {
      pen.lineWidth = 5; pen.strokeStyle = "#fff"; frameCell(pen, box)
      pen.lineWidth = 2.5; pen.strokeStyle = colour; pen.setLineDash(dashed ? [6, 4] : []); frameCell(pen, box); pen.setLineDash([])
      const [x, y] = toScreen((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
      if (words) badge(pen, x, y + 5, words, "center")
    }
    if (!state.chosen || state.like) return
    const [x, y] = toScreen(state.chosen.x, state.chosen.y)
    for (const [colour, wide] of [["#fff", 5], ["#d7191c", 2]]) {
      Object.assign(pen, { strokeStyle: colour, lineWidth: wide })
      pen.beginPath(); pen.moveTo(x - 10, y); pen.lineTo(x + 10, y); pen.moveTo(x, y - 10); pen.lineTo(x, y + 10); pen.stroke()
    }
  }
  const likeBoxes = () => {
    if (!state.like || !alike.length) return []
    return alike.map(({ chosen: [p, t, row, column] }, rank) => {
      const here = p === state.place && t === state.at[facts.likeness.dim]
      if (!here && (rank || p !== state.place)) return null
      const grid = places[p].grids[facts.likeness.grid]
      const [w, s, e, n] = grid.bounds
      const [dx, dy] = [(e - w) / grid.shape[1], (n - s) / grid.shape[0]]
      const [x, y] = [w + (column + 0.5) * dx, n - (row + 0.5) * dy]
      const [tw, th] = places[p].tile ?? [dx, dy]
      return [[x - tw / 2, y - th / 2, x + tw / 2, y + th / 2], rank ? "#f28e1c" : "#e0218a", rank ? String(rank) : "", !here]
    }).filter(Boolean).reverse()
  }
  const ground = () => { // metres of a unit of x in the middle of the view; null where nobody knows
    const [w, s, e, n] = state.view
    const [x, y, d] = [(w + e) / 2, (s + n) / 2, (place().bounds[2] - place().bounds[0]) / 200]
    const [from, to] = [lonlat(x - d, y), lonlat(x + d, y)]
    if (!from || !to) return null
    const [rise, run, high] = [to[1] - from[1], to[0] - from[0], (to[1] + from[1]) / 2].map((v) => (v * Math.PI) / 180)
    return (6371008.8 * Math.hypot(rise, run * Math.cos(high))) / (2 * d)
  }
  const scaleBar = (pen, a, b) => {
    const unit = ground()
    if (!unit) return
    const perPx = ((state.view[2] - state.view[0]) * unit) / a
    const told = nice(perPx * 60, 1)
    const wide = told / perPx
    const [x, y] = [MARGIN.left + a - wide - 12, b - 12]
    pen.fillStyle = "rgba(255,255,255,.8)"; pen.fillRect(x - 6, y - 18, wide + 12, 24)
    pen.strokeStyle = "#111"; pen.lineWidth = 2
    pen.beginPath(); pen.moveTo(x, y - 4); pen.lineTo(x, y); pen.lineTo(x + wide, y); pen.lineTo(x + wide, y - 4); pen.stroke()
    pen.fillStyle = "#111"; pen.font = "11px system-ui, sans-serif"; pen.textAlign = "center"
    pen.fillText(told >= 1000 ? `${(told / 1000).toLocaleString("en")} km` : `${told.toLocaleString("en")} m`, x + wide / 2, y - 6)
  }
  const axes = (pen, a, b) => {
    pen.strokeStyle = "#777"; pen.lineWidth = 1; pen.strokeRect(MARGIN.left + 0.5, 0.5, a - 1, b - 1)
    pen.fillStyle = "#444"; pen.font = "11px system-ui, sans-serif"
    const [w, s, e, n] = state.view
    const geographic = place().kind === "geographic"
    const unit = place().metres ? 1000 / place().metres : 1
    for (const [low, high, across] of [[w, e, true], [s, n, false]]) {
      const step = nice((high - low) / unit, across ? a / 90 : b / 45) * unit
      for (let v = Math.ceil(low / step) * step; v <= high; v += step) {
        const words = geographic ? degrees(v, across ? "EW" : "NS", step) : (v / unit).toLocaleString("en", { maximumFractionDigits: Math.max(0, -Math.floor(Math.log10(step / unit))) })
        const [x, y] = toScreen(across ? v : w, across ? n : v)
        pen.textAlign = across ? "center" : "right"
        if (across ? x > MARGIN.left + 14 && x < size[0] - 16 : y > 6 && y < b - 4) pen.fillText(words, across ? x : MARGIN.left - 5, across ? b + 14 : y + 4)
        pen.beginPath(); pen.moveTo(across ? x : MARGIN.left, across ? b : y); pen.lineTo(across ? x : MARGIN.left - 3, across ? b + 3 : y); pen.stroke()
      }
    }
    if (unit !== 1) { pen.textAlign = "left"; pen.fillText("km", 2, b + 14) }
  }
  const repaint = () => drawTo(canvas.getContext("2d"), size, scale())

  // ---- drawing what is asked for -------------------------------------------------------------------------------------------
  let [turn, jobs] = [0, 0]
  const working = (job) => async (...given) => { // what waits for an answer shows that it does, and tells what went wrong
    jobs++
    root.dataset.busy = "true"
    try { return await job(...given) } catch (error) { under.textContent = `This could not be read: ${error.message ?? error}` } finally { if (!--jobs) delete root.dataset.busy }
  }
  const side = (which) => (which ? { layer: layerOf[which.layer], at: which.at } : { layer: layerOf[state.top], at: {} })
  const sideName = (which) => { // what this side does not share with the other
    const { layer, at } = side(which)
    const own = layer ? words(dimsOf(layer).filter((d) => (state.other.at[d] ?? state.at[d]) !== state.at[d]), at) : []
    return (state.other.layer !== state.top || !own.length ? [layer?.title ?? "nothing", ...own] : own).join(", ")
  }
  const usesThreshold = (layer) => Boolean(layer) && layer.kind === "numbers" && facts.threshold.layer === layer.name && facts.threshold.hides
  const made = (layer, got) => (layer.kind === "error" ? judged(layer, got) : got[0])
  const refresh = working(async () => {
    const mine = ++turn
    syncControls()
    const sides = [state.top && side(), state.compare !== "off" && side(state.other), state.below && { layer: layerOf[state.below], at: {} }]
    const wanted = sides.map((s) => (s ? wantedOf(s.layer, s.at) : []))
    const marks = facts.outlined.length ? wantedOf(layerOf[facts.outlined[1]], {}) : []
    const groups = state.group && facts.groups ? wantedOf(layerOf[facts.groups], {}) : []
    const got = await planes([...wanted.flat(), ...marks, ...groups], ...(groups.length ? [place().bounds, [1500, 1500]] : []))
    if (mine !== turn) return
    const take = (n) => got.splice(0, n)
    const [top, other, below] = sides.map((s, i) => { const own = take(wanted[i].length); return s ? made(s.layer, own) : null })
    drawn = { top, other, below, marks: take(marks.length)[0] ?? null }
    if (groups.length && top?.codes) { const g = take(1)[0]; drawn.groups = g; if (top.layer.kind === "numbers") drawn.top = grouped(top, g); if (other?.layer.kind === "numbers") drawn.other = grouped(other, g) }
    if (state.compare === "difference" && drawn.top && drawn.other) drawn.top = drawn.top.width === drawn.other.width && drawn.top.codes && drawn.other.codes ? difference(drawn.top, drawn.other) : drawn.top
    repaint()
    describe()
  })
  let resting = null
  const moved = () => { // the middle of the view stays on the data
    const [[w, s, e, n], [bw, bs, be, bn]] = [state.view, place().bounds]
    const [dx, dy] = [clamp((w + e) / 2, bw, be) - (w + e) / 2, clamp((s + n) / 2, bs, bn) - (s + n) / 2]
    if (dx || dy) state.view = [w + dx, s + dy, e + dx, n + dy]
    repaint(); clearTimeout(resting); resting = setTimeout(facts.whole ? () => {} : refresh, 180) }
  const zoom = (by, x = null, y = null) => {
    const [w, s, e, n] = state.view
    const [cx, cy] = x === null ? [(w + e) / 2, (s + n) / 2] : [x, y]
    const [bw, , be] = place().bounds
    const [left, , right] = fitted(place().bounds)
    if ((be - bw) / ((e - w) * by) > 4000) return
    by = Math.min(by, (1.5 * (right - left)) / (e - w))
    state.view = [cx - (cx - w) * by, cy - (cy - s) * by, cx + (e - cx) * by, cy + (n - cy) * by]
    moved()
  }
  const pan = (dx, dy) => { const [w, s, e, n] = state.view; state.view = [w + dx, s + dy, e + dx, n + dy]; moved() }

  const titleText = () => {
    const layer = layerOf[state.top] ?? layerOf[state.below]
    if (!layer) return facts.title
    const where = places.length > 1 ? [place().name] : []
    const used = words(dimsOf(layer).filter((d) => dimOf[d]))
    const against = state.compare === "off" ? "" : state.compare === "swipe" ? ` | ${sideName(state.other)}` : ` minus ${sideName(state.other)}`
    return [...where, layer.title, ...used].join(", ") + against + (drawn?.top?.mean ? ", mean of each part" : "")
  }
  const words = (names, at = {}) => { // what is shown along each dim; months ahead of another are told as the month that is meant
    const where = Object.fromEntries(dims.map((d) => [d.name, Math.min(at[d.name] ?? state.at[d.name], labels(d).length - 1)]))
    const ahead = names.map((d) => dimOf[d]).find((d) => d.ahead_of && names.includes(d.ahead_of))
    return names.filter((d) => d !== ahead?.ahead_of).map((d) => {
      const label = labels(dimOf[d])[where[d]]
      if (dimOf[d] !== ahead) return label
      const first = labels(dimOf[ahead.ahead_of])[where[ahead.ahead_of]]
      return `${monthsOn(first, ahead.ahead[where[d]])} (${label}, known until ${monthsOn(first, -1)})`
    })
  }
  const describe = () => {
    title.textContent = titleText()
    legend.replaceChildren(...legendNodes())
    const counts = countsText()
    said.textContent = counts
    canvas.setAttribute("aria-label", `Map: ${title.textContent}. ${counts} ${place().name}`)
    root.dataset.shown = [place().name, state.below, state.top, state.compare, ...dims.map((d) => labels(d)[state.at[d.name]])].join(" | ")
    told({ place: place().name, at: { ...state.at }, below: state.below, top: state.top, compare: state.compare, chosen: state.chosen, region: state.region?.points ?? null })
  }
  const countsText = () => {
    const plane = drawn?.top
    if (!plane || layerOf[state.top]?.kind !== "error" || plane.layer.kind !== "classes") return ""
    const n = new Array(256).fill(0)
    plane.codes.forEach((v) => n[v]++)
    const all = plane.codes.length - n[nothing]
    if (!all) return "Not known yet what came true."
    const thin = plane.step > 1 ? ` Counted on every ${plane.step}th pixel a side.` : ""
    const parts = plane.layer.labels.map((l, i) => (plane.layer.colours[i] ? `${l} ${n[i].toLocaleString("en")}` : null)).filter(Boolean)
    const warned = plane.layer.labels.length > 2 ? `Warning from ${figure(threshold(), layerOf[facts.threshold.layer])}: ` : ""
    return `${warned}${parts.join(", ")} of ${all.toLocaleString("en")}.${thin}`
  }
  const legendRows = () => { // of each plane that is shown: { title, chips: [colour, words], ramp, ticks: [share, words], note }
    const told = new Map()
    for (const plane of [drawn?.top ?? drawn?.below, state.compare === "swipe" ? drawn?.other : null]) {
      if (!plane) continue
      const { layer } = plane
      const share = (v) => clamp((v - plane.low) / (plane.high - plane.low), 0, 1) ** layer.power
      const ticks = layer.ticks?.length ? layer.ticks : [plane.low, plane.low + (plane.high - plane.low) / 2, plane.high]
      const one = { title: layer.difference ? "difference" : layer.title, note: layer.note ?? "" }
      if (plane.image) one.chips = []
      else if (layer.kind === "classes") one.chips = layer.labels.map((l, i) => [layer.colours[i], l]).filter(([c]) => c)
      else Object.assign(one, { chips: [], ramp: layer.colours, ticks: ticks.map((v) => [share(v), figure(v, layer)]) })
      told.set(JSON.stringify([one.chips, one.ramp, one.ticks]), one)
    }
    const rows = [...told.values()]
    if (drawn?.marks && state.outlined) rows.push({ title: "", chips: [["", facts.outlined[0].replace(/^outline /, "")]], note: "" })
    if (facts.veil.length && drawn?.top) rows.push({ title: "", chips: [facts.veil], note: "" })
    return rows
  }
  const legendNodes = () => legendRows().flatMap(({ title: name, chips, ramp, ticks, note }) => [
    ...chips.map(([c, l]) => h("span", { class: "chip" }, h("i", { style: `background:${c}` }), l)),
    ramp && h("div", { class: "ramp" }, h("span", {}, name), h("div", { class: "bar", style: `background:linear-gradient(90deg,${ramp})` }), h("div", { class: "ticks" }, ticks.map(([at, words2]) => h("span", { style: `left:${100 * at}%` }, words2)))),
    note && h("div", { class: "pale" }, note),
  ].filter(Boolean))

  // ---- what a click tells --------------------------------------------------------------------------------------------------
  let alike = []
  const lonlat = (x, y) => {
    const p = place()
    if (!p.lonlat) return null
    if (p.kind === "geographic") return [x, y]
    const [w, s, e, n] = p.bounds
    const side = Math.sqrt(p.lonlat[0].length)
    const [u, v] = [((x - w) / (e - w)) * (side - 1), ((n - y) / (n - s)) * (side - 1)]
    const [i, j] = [clamp(Math.floor(u), 0, side - 2), clamp(Math.floor(v), 0, side - 2)]
    const mix = (g) => {
      const at = (r, c) => g[(j + r) * side + i + c] ?? NaN
      return (1 - v + j) * ((1 - u + i) * at(0, 0) + (u - i) * at(0, 1)) + (v - j) * ((1 - u + i) * at(1, 0) + (u - i) * at(1, 1))
    }
    const found = p.lonlat.map(mix)
    return found.every(Number.isFinite) ? found : null
  }
  const sureDigits = (x, y) => { // decimals of a degree that interpolation gets right here: few where the grid bends, below 0 none, as at the Earth's rim
    const p = place()
    if (p.kind === "geographic") return 9
    const [[w, s, e, n], side] = [p.bounds, Math.sqrt(p.lonlat[0].length)]
    const [i, j] = [clamp(Math.round(((x - w) / (e - w)) * (side - 1)), 1, side - 2), clamp(Math.round(((n - y) / (n - s)) * (side - 1)), 1, side - 2)]
    const bends = p.lonlat.flatMap((g) => [1, side].map((step) => Math.abs((g[j * side + i - step] ?? NaN) - 2 * (g[j * side + i] ?? NaN) + (g[j * side + i + step] ?? NaN))))
    const digits = Math.floor(-Math.log10(Math.max(...bends, 1e-9) / 2))
    return Number.isNaN(digits) ? -1 : digits
  }
  const fromLonlat = (lon, lat) => { // Newton's steps on the grid of longitude and latitude
    const [w, s, e, n] = place().bounds
    if (place().kind === "geographic") return [lon, lat]
    let [x, y] = [(w + e) / 2, (s + n) / 2]
    const [dx, dy] = [(e - w) / 1e4, (n - s) / 1e4]
    for (let i = 0; i < 20; i++) {
      const [a, b, c] = [lonlat(x, y), lonlat(x + dx, y), lonlat(x, y + dy)]
      if (!a || !b || !c) return null
      const [p, q, r, t] = [(b[0] - a[0]) / dx, (c[0] - a[0]) / dy, (b[1] - a[1]) / dx, (c[1] - a[1]) / dy]
      const det = p * t - q * r
      x += (t * (lon - a[0]) - q * (lat - a[1])) / det
      y += (p * (lat - a[1]) - r * (lon - a[0])) / det
    }
    return Number.isFinite(x + y) ? [x, y] : null
  }
  const placed = (x, y, most) => {
    const found = lonlat(x, y)
    const digits = found && Math.min(most, sureDigits(x, y))
    return found && digits >= 0 ? `${Math.abs(found[1]).toFixed(digits)}° ${found[1] < 0 ? "S" : "N"}, ${Math.abs(found[0]).toFixed(digits)}° ${found[0] < 0 ? "W" : "E"}` : ""
  }
  const gridCell = (x, y, grid = Object.values(place().grids)[0]) => {
    const [w, s, e, n] = grid.bounds
    const [row, column] = [Math.floor(((n - y) / (n - s)) * grid.shape[0]), Math.floor(((x - w) / (e - w)) * grid.shape[1])]
    return row < 0 || column < 0 || row >= grid.shape[0] || column >= grid.shape[1] ? null : { row, column, x: w + ((column + 0.5) * (e - w)) / grid.shape[1], y: n - ((row + 0.5) * (n - s)) / grid.shape[0] }
  }
  const choose = async (x, y) => {
    if (facts.likeness) return chooseTile(x, y)
    const cell = gridCell(x, y)
    if (!cell) { about.innerHTML = "<i>Outside the data.</i>"; state.chosen = null; return repaint() }
    state.chosen = cell
    repaint()
    await tell()
  }
  const axisOf = (name) => (name && layerOf[name] ? layerOf[name].dims : [])
  const tell = working(async () => {
    if (!state.chosen) return
    const { table, chart } = facts
    const open = { [table?.layer]: [table?.rows, table?.columns], [table?.heads]: [table?.columns], [table?.also?.[1]]: [table?.rows], [chart?.layer]: [chart?.along, chart?.each], [chart?.truth]: [chart?.along], [chart?.past]: [chart?.past_dim] }
    const names = [...new Set([...facts.lines.map(([, n]) => n), ...Object.keys(open)])].filter((n) => layerOf[n])
    const asked = names.map((layer) => ({ layer, at: Object.fromEntries(Object.entries(positions(layerOf[layer], {})).filter(([d]) => !(open[layer] ?? []).includes(d))) }))
    const mine = state.chosen
    const [{ values }] = await ask({ what: "values", place: state.place, x: mine.x, y: mine.y, layers: asked })
    if (mine !== state.chosen) return
    const rough = facts.whole ? (layer) => (layer.exact || layer.kind === "classes" ? "" : "~") : () => ""
    const shownOf = (name) => layerOf[name].dims.filter((d) => open[name]?.includes(d)).reduce((v, d) => v?.[state.at[d]], values[name])
    const told2 = (name, v) => { const l = layerOf[name]; return l.kind === "classes" ? figure(v, l) : `${rough(l)}${figure(v, l)}` }
    const lines = facts.lines.filter(([, n]) => layerOf[n]).map(([head, name]) => { const v = shownOf(name); return (v ?? null) === null && layerOf[name].kind !== "classes" ? null : `<div>${text(head)} <b>${text(told2(name, v))}</b></div>` }).filter(Boolean)
    about.innerHTML = `<div><b>${text(where(mine))}</b></div>${lines.join("")}${chart ? chartSvg(values) : ""}${table ? tableHtml(values, rough) : ""}`
  })
  const where = ({ x, y, row, column }) => {
    const p = place()
    const number = p.ids ? `, ${p.ids[0]} ${p.ids[1] + row * p.ids[2] + column * p.ids[3]}` : ""
    const metric = p.kind === "projected" ? `${x.toLocaleString("en", { maximumFractionDigits: 1 })} E, ${y.toLocaleString("en", { maximumFractionDigits: 1 })} N; ` : p.kind === "none" ? `x ${x}, y ${y}; ` : ""
    return `${metric}${placed(x, y, p.kind === "geographic" && Math.abs(p.bounds[2] - p.bounds[0]) > 5 ? 2 : 5) || "place on Earth unknown"}${number}; row ${row + 1}, column ${column + 1}`
  }
  const inOrder = (values, layer, ...axes) => { // values[i][j] along the axes given, whatever order the layer has
    const own = layer.dims.filter((d) => axes.includes(d))
    return own[0] === axes[0] ? (i, j) => (axes.length > 1 ? values?.[i]?.[j] : values?.[i]) : (i, j) => values?.[j]?.[i]
  }
  const lineLook = (j) => `fill="none" stroke="${colours[j % colours.length]}" stroke-width="${j ? 1.5 : 2.6}" stroke-dasharray="${DASHES[j % DASHES.length]}"`
  const lineSample = (j) => `<svg width="44" height="6" style="display:block" aria-hidden="true"><path d="M0 3H44" ${lineLook(j)}/></svg>`
  const tableHtml = (values, rough) => {
    const { layer: name, rows, columns, heads, also } = facts.table
    const layer = layerOf[name]
    const at = inOrder(values[name], layer, rows, columns)
    const colour = layerOf[facts.guess]?.kind === "classes" ? layerOf[facts.guess].colours : []
    const head = labels(dimOf[columns]).map((c, j) => `<th scope="col">${text(c)}${facts.chart?.each === columns ? lineSample(j) : ""}${heads ? `<br><small>${text(figure(values[heads]?.[j] ?? null, layerOf[heads]))}</small>` : ""}</th>`).join("")
    const body = labels(dimOf[rows]).map((r, i) => {
      const cells = labels(dimOf[columns]).map((_, j) => {
        const v = at(i, j)
        if (v === null || v === undefined) return "<td class='pale'>-</td>"
        const share = 100 * clamp((v - (layer.low ?? 0)) / ((layer.high ?? 1) - (layer.low ?? 0)), 0, 1)
        return `<td style="background:linear-gradient(90deg,#c9d8e6 ${share}%,transparent ${share}%)">${rough(layer)}${text(figure(v, layer))}</td>`
      })
      const more = also.length ? `<td>${text(figure(values[also[1]]?.[i] ?? null, layerOf[also[1]]))}</td>` : ""
      return `<tr><th scope="row" style="border-left:10px solid ${rows === "class" && colour[i] ? colour[i] : "transparent"}">${text(rowLabel(rows, i, r))}</th>${more}${cells.join("")}</tr>`
    })
    return `<div class="scroll" tabindex="0" role="region" aria-label="numbers of the place"><table><tr><th scope="col">${text(dimOf[rows].title || rows)}</th>${also.length ? `<th scope="col">${text(also[0])}</th>` : ""}${head}</tr>${body.join("")}</table></div>`
  }
  const rowLabel = (name, i, label) => (dimOf[name].ahead_of ? monthsOn(firstMonth(dimOf[name]), dimOf[name].ahead[i]) : label)
  const chartSvg = (values) => {
    const { layer: name, along, each, truth, past, past_dim, origin } = facts.chart
    const at = inOrder(values[name], layerOf[name], along, each)
    const steps = labels(dimOf[along])
    const lines = labels(dimOf[each])
    const first = origin ? labels(dimOf[origin])[state.at[origin]] : ""
    const before = past && values[past] ? labels(dimOf[past_dim]).map((l, k) => [l, values[past][k]]).filter(([l]) => l < first).slice(-120) : []
    const [w, split] = [400, (before.length ? 220 : 0) + 4]
    const [step, ahead] = [(split - 6) / Math.max(1, before.length), (w - split - 6) / steps.length]
    const all = steps.flatMap((_, i) => lines.map((_, j) => at(i, j))).filter((v) => v !== null && v !== undefined)
    const top = Math.max(layerOf[name].form === "percent" ? 0.1 : 1e-9, ...all)
    const ticks = before.map(([, v], k) => (v ? `<rect x="${4 + k * step}" y="12" width="${Math.max(1, step * 0.8)}" height="66" fill="#777"/>` : "")).join("")
    const drawnLines = lines.map((_, j) => {
      const points = steps.map((_, i) => [split + (i + 0.5) * ahead, 78 - (66 * at(i, j)) / top, at(i, j)]).filter((p) => p[2] !== null && p[2] !== undefined)
      return `<polyline points="${points.map((p) => `${p[0].toFixed(1)},${p[1].toFixed(1)}`).join(" ")}" ${lineLook(j)}/>`
    }).reverse().join("")
    const dots = truth ? steps.map((_, i) => (values[truth]?.[i] === 1 ? `<circle cx="${split + (i + 0.5) * ahead}" cy="84" r="3.2"/>` : "")).join("") : ""
    const told3 = `${lines.length} lines from ${first}; the highest ${figure(top, layerOf[name])}`
    return `<svg viewBox="0 0 ${w} 98" class="chart" font-size="12" role="img" aria-label="${text(told3)}">${ticks}<path d="M4 78H${w}" stroke="#999"/><path d="M${split} 4V78" stroke="#555" stroke-dasharray="3 2"/>${drawnLines}${dots}
      <text x="${w - 2}" y="10" text-anchor="end" fill="#555">top ${text(figure(top, layerOf[name]))}${truth ? "; black dots: it came true" : ""}</text><text x="4" y="96" fill="#555">${before.length ? `events since ${before[0][0]}` : ""}</text><text x="${split + 2}" y="96" fill="#555">${text(first)}</text></svg>`
  }
  const chooseTile = working(async (x, y) => {
    const grid = place().grids[facts.likeness.grid]
    const [w, s, e, n] = grid.bounds
    const row = clamp(Math.floor(((n - y) / (n - s)) * grid.shape[0]), 0, grid.shape[0] - 1)
    const column = clamp(Math.floor(((x - w) / (e - w)) * grid.shape[1]), 0, grid.shape[1] - 1)
    const chosen = [state.place, state.at[facts.likeness.dim], row, column]
    const answer = await ask({ what: "alike", chosen })
    if (!answer[0].alike.length) { about.innerHTML = "<i>Nothing there: outside the scene, or mostly no data.</i>"; return }
    state.like = chosen
    state.chosen = gridCell(x, y, grid)
    if (state.top !== facts.likeness.layer && state.top) state.top = facts.likeness.layer
    tellAlike(answer)
    await refresh()
  })
  const tellAlike = ([{ alike: found }, files]) => {
    alike = found
    const far = layerOf[facts.likeness.layer]
    const cards = found.map((one, rank) => {
      const picture = files[rank]?.byteLength ? h("img", { alt: `${rank ? `${rank}.` : "the tile"} ${one.label}`, src: URL.createObjectURL(new Blob([files[rank]], { type: "image/webp" })) }) : h("div", { class: "none" })
      picture.style.borderColor = rank ? "#f28e1c" : "#e0218a"
      const go = () => { state.place = one.chosen[0]; state.at[facts.likeness.dim] = one.chosen[1]; placeChanged(false); refresh() }
      return h("button", { class: "tile", type: "button", title: "show where it lies", onclick: go }, picture, h("b", {}, rank ? `${rank}: ${figure(one.far, far)}` : "the tile"), h("span", {}, one.label))
    })
    about.replaceChildren(h("div", {}, "The tile, and those most alike of all, with their distance. A click on one shows where it lies."), h("div", { class: "tiles" }, cards), h("div", { class: "pale" }, facts.likeness.words.note ?? ""))
  }

  // ---- regions -------------------------------------------------------------------------------------------------------------
  const within = (points, x, y) => {
    let odd = false
    for (let i = 0, j = points.length - 1; i < points.length; j = i++) {
      const [[xi, yi], [xj, yj]] = [points[i], points[j]]
      if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) odd = !odd
    }
    return odd
  }
  const cellsIn = (plane, region, groups) => Array.from(plane.codes.keys()).filter((i) => {
    if (region.group !== undefined) return groups.codes[i] === region.group
    const [w, s, e, n] = cellBox(plane, i)
    return within(region.points, (w + e) / 2, (s + n) / 2)
  })
  const boundsOf = (points) => [Math.min(...points.map((p) => p[0])), Math.min(...points.map((p) => p[1])), Math.max(...points.map((p) => p[0])), Math.max(...points.map((p) => p[1]))]
  const average = (values) => values.reduce((s, v) => s + v, 0) / values.length
  const precision = (guess, truth) => { // average precision: the mean precision at each event, by falling probability
    const order = guess.map((v, i) => [v, truth[i]]).sort((a, b) => b[0] - a[0])
    let [hits, sum, at] = [0, 0, 0]
    while (at < order.length) { // equal guesses are one step
      let [n, found] = [at, 0]
      while (n < order.length && order[n][0] === order[at][0]) found += order[n++][1]
      hits += found
      sum += (found * hits) / n
      at = n
    }
    return hits ? sum / hits : NaN
  }
  const scoresOf = (guess, truth, cells) => {
    const known = cells.filter((i) => truth.codes[i] !== nothing && guess.codes[i] !== nothing && !(guess.layer.kind === "numbers" && truth.codes[i] > 1))
    if (!known.length) return { n: 0 }
    if (guess.layer.kind === "numbers") {
      const [p, t] = [known.map((i) => valueAt(guess, i)), known.map((i) => truth.codes[i])]
      return { n: known.length, events: t.reduce((a, b) => a + b, 0), expected: p.reduce((a, b) => a + b, 0), "average precision": precision(p, t), Brier: average(p.map((v, i) => (v - t[i]) ** 2)) }
    }
    const classes = [...new Set(known.flatMap((i) => [truth.codes[i], guess.codes[i]]))]
    const iou = classes.map((c) => {
      const both = known.filter((i) => truth.codes[i] === c && guess.codes[i] === c).length
      return both / known.filter((i) => truth.codes[i] === c || guess.codes[i] === c).length
    })
    return { n: known.length, accuracy: average(known.map((i) => Number(truth.codes[i] === guess.codes[i]))), "mean IoU": average(iou) }
  }
  let askedRegion = null
  const tellRegion = working(async () => {
    const region = state.region
    if (!region) { regionBox.replaceChildren(); return }
    const view = region.points ? boundsOf(region.points) : place().bounds
    const guess = layerOf[facts.guess]
    const models = guess && dimOf.model ? labels(dimOf.model) : [""]
    const wanted = [...(guess ? models.map((_, m) => ({ layer: guess.name, at: positions(guess, guess.dims.includes("model") ? { model: m } : {}) })) : []),
      ...(facts.truth ? wantedOf(layerOf[facts.truth], {}) : []), ...(layerOf[facts.split] ? wantedOf(layerOf[facts.split], {}) : []),
      ...(facts.groups ? wantedOf(layerOf[facts.groups], {}) : []), ...(layerOf[state.top] && layerOf[state.top].kind !== "error" ? wantedOf(layerOf[state.top], {}) : [])]
    const mine = (askedRegion = {})
    const got = await planes(wanted, view, [1500, 1500], true)
    if (mine !== askedRegion || region !== state.region) return
    const guesses = guess ? got.splice(0, models.length) : []
    const truth = facts.truth ? got.shift() : null
    const split = layerOf[facts.split] ? got.shift() : null
    const groups = facts.groups ? got.shift() : null
    const top = got.shift() ?? guesses[0]
    const cells = cellsIn(truth ?? top, region, groups)
    const lines = []
    if (top?.codes && top.codes.length === (truth ?? top).codes.length) {
      const known = cells.filter((i) => top.codes[i] !== nothing)
      const codes = known.map((i) => top.codes[i])
      if (top.layer.kind === "numbers") { const v = known.map((i) => valueAt(top, i)); lines.push(`${top.layer.title}: mean ${figure(average(v), top.layer)}, highest ${figure(v.reduce((a, b) => Math.max(a, b), -Infinity), top.layer)}`) }
      else lines.push(`${top.layer.title}: ${top.layer.labels.map((l, c) => [l, codes.filter((v) => v === c).length]).filter(([, n]) => n).sort((a, b) => b[1] - a[1]).slice(0, 6).map(([l, n]) => `${l} ${figure(n / codes.length, { form: "percent" })}`).join(", ")}`)
    }
    const remark = dimOf[facts.split]?.remarks[state.at[facts.split]]
    const parts = split ? split.layer.labels.map((l, s) => [l, cells.filter((i) => split.codes[i] === s)]).filter(([, c]) => c.length) : [[remark ?? "", cells]]
    const rows = truth ? parts.flatMap(([name, some]) => guesses.map((g, m) => ({ split: name, model: models[m], ...scoresOf(g, truth, some) }))).filter((r) => r.n) : []
    const columns = rows.length ? Object.keys(rows[0]).filter((k) => k !== "split" || rows.some((r) => r.split)) : []
    const form = (v) => (typeof v !== "number" ? text(v) : Number.isInteger(v) ? v.toLocaleString("en") : Number.isNaN(v) ? "-" : Math.abs(v) >= 10 ? v.toFixed(1) : v.toFixed(3))
    const table2 = rows.length ? `<div class="scroll" tabindex="0" role="region" aria-label="scores of the region"><table><tr>${columns.map((c) => `<th scope="col">${text(c)}</th>`).join("")}</tr>${rows.map((r) => `<tr>${columns.map((c) => `<td>${form(r[c])}</td>`).join("")}</tr>`).join("")}</table></div>` : "<div>No truth is known here.</div>"
    const thin = (truth ?? top).step > 1 ? ` Counted on every ${(truth ?? top).step}th pixel a side.` : ""
    const kept = { cells, plane: truth ?? top, guesses, models, truth, split, top }
    regionBox.replaceChildren(
      h("div", {}, h("b", {}, region.name ?? "Region"), `: ${cells.length.toLocaleString("en")} cells.${thin} ${lines.join(" ")}`),
      Object.assign(h("div"), { innerHTML: table2 }), h("div", { class: "pale" }, "Only the test split is a test: elsewhere the network has seen the answers, or was chosen by them."),
      h("div", { class: "row" }, h("button", { type: "button", onclick: () => exportTable(kept) }, "cells as CSV"), region.points ? h("button", { type: "button", onclick: () => exportOutline(region) }, "outline as GeoJSON") : null, h("button", { type: "button", onclick: () => { state.region = null; regionBox.replaceChildren(); repaint() } }, "clear")),
    )
  })
  const download = (name, data, type) => { const a = h("a", { download: name, href: URL.createObjectURL(data instanceof Blob ? data : new Blob([data], { type })) }); root.append(a); a.click(); a.remove() }
  const slug = () => title.textContent.replace(/[^\w.-]+/g, "_").slice(0, 80)
  const exportTable = ({ cells, plane, guesses, models, truth, split }) => {
    const head = ["x", "y", "longitude", "latitude", ...(split ? ["split"] : []), ...(truth ? ["truth"] : []), ...guesses.map((g, m) => `${g.layer.title} ${models[m]}`.trim())]
    const rows = cells.map((i) => {
      const [w, s, e, n] = cellBox(plane, i)
      const [x, y] = [(w + e) / 2, (s + n) / 2]
      const value = (p) => (p.codes[i] === nothing ? "" : p.layer.kind === "classes" ? p.layer.labels[p.codes[i]] : +valueAt(p, i).toPrecision(6))
      return [x, y, ...(lonlat(x, y) ?? ["", ""]).map((v) => (v === "" ? "" : +v.toFixed(6))), ...(split ? [value(split)] : []), ...(truth ? [value(truth)] : []), ...guesses.map(value)]
    })
    const quoted = (v) => (/[",\n]/.test(String(v)) ? `"${String(v).replace(/"/g, '""')}"` : v)
    download(`${slug()}.csv`, [head, ...rows].map((r) => r.map(quoted).join(",")).join("\n"), "text/csv")
  }
  const exportOutline = (region) => {
    const ring = [...region.points, region.points[0]].map(([x, y]) => lonlat(x, y) ?? [x, y])
    download(`${slug()}.geojson`, JSON.stringify({ type: "FeatureCollection", features: [{ type: "Feature", properties: { title: title.textContent }, geometry: { type: "Polygon", coordinates: [ring] } }] }), "application/geo+json")
  }
  const exportPicture = () => {
    const [k, wide] = [2, size[0] - MARGIN.left - 6]
    const made2 = document.createElement("canvas")
    const pen = made2.getContext("2d")
    const font = (style = "") => { pen.font = `${style} 11px system-ui, sans-serif` }
    const wrapped = (line) => line.split(" ").reduce((rows, word) => { const longer = `${rows.at(-1)} ${word}`.trim(); if (pen.measureText(longer).width > wide) rows.push(word); else rows[rows.length - 1] = longer; return rows }, [""])
    const below = (draw) => { // the legend and the words under the map: where they end
      let [x, y] = [MARGIN.left, size[1] + 48]
      font()
      for (const { title: name, chips, ramp, ticks } of legendRows()) {
        for (const [c, l] of chips) {
          const room = pen.measureText(l).width + 30
          if (x > MARGIN.left && x + room > size[0]) { x = MARGIN.left; y += 16 }
          if (draw) { pen.fillStyle = c || "#fff"; pen.fillRect(x, y - 9, 11, 11); pen.strokeStyle = "#333"; pen.strokeRect(x, y - 9, 11, 11); pen.fillStyle = "#111"; pen.fillText(l, x + 16, y) }
          x += room
        }
        if (x > MARGIN.left) { x = MARGIN.left; y += 18 }
        if (!ramp) continue
        const bar = pen.createLinearGradient(x, 0, x + 240, 0)
        ramp.forEach((c, i) => bar.addColorStop(i / (ramp.length - 1), c))
        if (draw) {
          pen.fillStyle = "#111"; pen.fillText(name, x, y); pen.fillStyle = bar; pen.fillRect(x, y + 5, 240, 10); pen.fillStyle = "#111"
          for (const [at, words2] of ticks) { pen.textAlign = at < 0.02 ? "left" : "center"; pen.fillText(words2, x + 240 * at, y + 27) }
          pen.textAlign = "left"
        }
        y += 46
      }
      const notes = [said.textContent, ...legendRows().map((one) => one.note), facts.caption, place().crs].filter(Boolean).flatMap(wrapped)
      if (draw) { pen.fillStyle = "#555"; notes.forEach((line, i) => pen.fillText(line, MARGIN.left, y + 15 * i)) }
      return y + 15 * notes.length
    }
    Object.assign(made2, { width: size[0] * k, height: below(false) * k })
    drawTo(pen, [size[0], made2.height / k], k, 26)
    pen.setTransform(k, 0, 0, k, 0, 0)
    pen.fillStyle = "#111"; pen.textAlign = "left"; font("600"); pen.fillText(title.textContent, MARGIN.left, 17, wide)
    below(true)
    made2.toBlob((blob) => download(`${slug()}.png`, blob))
  }

  // ---- controls ------------------------------------------------------------------------------------------------------------
  const control = {}
  const row = (name, words, input, ...more) => { input.id = `${id}-${name}`; control[name] = input; return h("div", { class: `field ${more.length ? "" : "wide"}`, "data-control": name }, h("label", { for: input.id }, words), input, ...more) }
  const choice = (options, value, change) => { const made3 = h("select", { onchange: () => change(made3.value) }, options.map(([v, l]) => h("option", { value: v, selected: String(v) === String(value) }, l))); return made3 }
  const players = {}
  const slider = (dim) => {
    const output = h("output", { for: `${id}-${dim.name}` })
    const input = h("input", { type: "range", min: 0, max: labels(dim).length - 1, step: 1, value: state.at[dim.name], list: null, oninput: () => setDim(dim.name, Number(input.value)) })
    const button = h("button", { type: "button", class: "play", "aria-label": `play ${dim.title || dim.name}`, onclick: () => play(dim, button) }, "▶")
    control[`${dim.name}-output`] = output
    const field = row(dim.name, dim.title || dim.name, input, h("span", { class: "value" }, button, output))
    const gaps = h("div", { class: "gaps", "aria-hidden": "true" })
    control[`${dim.name}-gaps`] = gaps
    return h("div", {}, field, gaps)
  }
  const play = (dim, button) => {
    const playing = !players[dim.name]
    button.textContent = playing ? "❚❚" : "▶"
    button.setAttribute("aria-label", `${playing ? "pause" : "play"} ${dim.title || dim.name}`)
    if (!playing) { clearInterval(players[dim.name]); delete players[dim.name]; return }
    players[dim.name] = setInterval(() => { if (!root.isConnected) return clearInterval(players[dim.name]); if (!root.dataset.busy) setDim(dim.name, (state.at[dim.name] + 1) % labels(dim).length) }, 700)
  }
  const setDim = (name, value) => {
    state.at[name] = value
    dimsMoved([name])
  }
  const dimsMoved = (names) => {
    if (names.some((name) => facts.threshold.by?.includes(name))) startThreshold()
    refresh()
    tell()
    if (state.region) tellRegion()
  }
  const startThreshold = () => {
    if (!facts.threshold.steps) return
    const wanted = (facts.threshold.by ?? []).reduce((v, d) => v[state.at[d]], facts.threshold.start)
    state.threshold = facts.threshold.steps.reduce((best, s, i) => (Math.abs(s - wanted) < Math.abs(facts.threshold.steps[best] - wanted) ? i : best), 0)
  }
  const otherBox = h("div", { class: "other" })
  const buildOther = () => {
    otherBox.replaceChildren()
    if (state.compare === "off") return
    const options = pictures.filter((l) => l.kind !== "image" && (state.compare === "swipe" || l.kind === layerOf[state.top]?.kind && l.unit === layerOf[state.top]?.unit)).map((l) => [l.name, l.title])
    if (state.compare === "swipe") options.unshift(...pictures.filter((l) => l.kind === "image").map((l) => [l.name, l.title]), ...shown.filter((l) => l.kind === "error").map((l) => [l.name, l.title]))
    if (!options.some(([n]) => n === state.other.layer)) state.other = { layer: options.some(([n]) => n === state.top) ? state.top : options[0]?.[0] ?? "", at: {} }
    otherBox.append(row("other", state.compare === "swipe" ? "right side" : "minus", choice(options, state.other.layer, (v) => { state.other = { layer: v, at: {} }; buildOther(); refresh() })))
    for (const d of dims.filter((one) => layerOf[state.other.layer] && dimsOf(layerOf[state.other.layer]).includes(one.name) && labels(one).length > 1)) {
      otherBox.append(row(`other-${d.name}`, `its ${d.title || d.name}`, choice([["", "as above"], ...labels(d).map((l, i) => [i, l])], state.other.at[d.name] ?? "", (v) => { if (v === "") delete state.other.at[d.name]; else state.other.at[d.name] = Number(v); refresh() })))
    }
    if (state.compare === "swipe") otherBox.append(row("swipe", "divider", h("input", { type: "range", min: 0, max: 1, step: 0.01, value: state.swipe, oninput: (event) => { state.swipe = Number(event.target.value); repaint() } })))
    const model = dims.find((d) => d.name === "model" && labels(d).length > 1 && dimsOf(layerOf[state.other.layer] ?? { dims: [] }).includes("model"))
    if (model && state.other.layer === state.top && !Object.keys(state.other.at).length) { state.other.at.model = state.at.model === 0 ? 1 : 0; control["other-model"].value = state.other.at.model }
  }
  const placeChanged = (whole = true) => {
    for (const d of dims) state.at[d.name] = Math.min(state.at[d.name], labels(d).length - 1)
    if (whole && !facts.likeness) { state.chosen = null; about.innerHTML = `<i>${text(facts.click)}</i>` }
    state.region = null
    regionBox.replaceChildren()
    state.view = null
    size = [0, 0]
    resize()
    fillNames()
  }
  const syncControls = () => {
    const uses = new Set([layerOf[state.top], layerOf[state.below], state.compare !== "off" ? layerOf[state.other.layer] : null, facts.outlined.length && state.outlined ? layerOf[facts.outlined[1]] : null].filter(Boolean).flatMap(dimsOf))
    if (state.chosen && !facts.likeness) for (const name of [facts.table?.layer, facts.chart?.layer]) axisOf(name).filter((d) => ![facts.table?.rows, facts.table?.columns].includes(d)).forEach((d) => uses.add(d))
    for (const dim of dims) {
      const [input, own] = [control[dim.name], labels(dim)]
      if (!input) continue
      input.disabled = !uses.has(dim.name)
      input.closest("[data-control]").hidden = own.length < 2
      if (dim.slider) {
        input.max = own.length - 1
        const words = `${own[state.at[dim.name]] ?? ""}${dim.remarks.length ? ` ${dim.remarks[state.at[dim.name]]}` : ""}`
        control[`${dim.name}-output`].textContent = words
        input.setAttribute("aria-valuetext", words)
        const gaps = place().gaps[dim.name] ?? dim.gaps
        control[`${dim.name}-gaps`].replaceChildren(...gaps.map((g) => h("i", { style: `left:${(100 * (g - 0.5)) / Math.max(1, own.length - 1)}%`, title: `nothing between ${own[g - 1]} and ${own[g]}` })))
        if (gaps.length) input.title = `${gaps.length} gap${gaps.length > 1 ? "s" : ""} in time, marked below the slider`
      } else if (input.options.length !== own.length || [...input.options].some((o, i) => o.textContent !== own[i])) input.replaceChildren(...own.map((l, i) => h("option", { value: i }, l)))
      input.value = state.at[dim.name]
    }
    control.below && (control.below.value = state.below)
    control.top && (control.top.value = state.top)
    if (control.place) control.place.value = state.place
    const error = layerOf[state.top]?.kind === "error" && layerOf[layerOf[state.top].of[0]].kind === "numbers"
    if (control.threshold) {
      control.threshold.disabled = !(error || usesThreshold(layerOf[state.top]) || (state.compare !== "off" && layerOf[state.other.layer]?.kind === "error"))
      control.threshold.value = state.threshold
      control["threshold-output"].textContent = figure(threshold(), layerOf[facts.threshold.layer])
    }
    if (control.opacity) { control.opacity.disabled = !state.top; control["opacity-output"].textContent = `${Math.round(100 * state.opacity)} %` }
    if (control.group) control.group.disabled = layerOf[state.top]?.kind !== "numbers"
  }
  const named = h("datalist", { id: `${id}-names` })
  const search = h("input", { type: "search", list: `${id}-names`, placeholder: "place, lat, lon" , onkeydown: (event) => { if (event.key === "Enter") goTo(search.value) }, onchange: () => { if (namesHere().some(([n]) => n === search.value)) goTo(search.value) } })
  const namesHere = () => [...places.map((p, i) => [p.name, p.bounds, i]), ...places.flatMap((p, i) => Object.entries(p.names).map(([n, b]) => [n, b, i]))]
  const fillNames = () => named.replaceChildren(...namesHere().map(([n]) => h("option", { value: n })))
  const groupNames = () => (facts.groups ? layerOf[facts.groups].labels : [])
  const goTo = (asked) => {
    const found = namesHere().find(([n]) => n.toLowerCase() === asked.trim().toLowerCase()) ?? namesHere().find(([n]) => asked.trim() && n.toLowerCase().startsWith(asked.trim().toLowerCase()))
    if (found) {
      const [name, bounds, index] = found
      if (index !== state.place) { state.place = index; placeChanged() }
      const [w, s, e, n] = bounds
      state.view = fitted([w - (e - w) * 0.05, s - (n - s) * 0.05, e + (e - w) * 0.05, n + (n - s) * 0.05])
      refresh()
      if (groupNames().includes(name)) { state.region = { group: groupNames().indexOf(name), name }; tellRegion() }
      return
    }
    const ids = place().ids
    const numbers = asked.match(/-?\d+(\.\d+)?/g)?.map(Number) ?? []
    let at = null
    if (numbers.length === 1 && ids) {
      const [grid, n] = [Object.values(place().grids)[0], numbers[0]]
      const cells = Array.from({ length: grid.shape[0] }, (_, r) => [r, (n - ids[1] - r * ids[2]) / ids[3]]).filter(([, c]) => Number.isInteger(c) && c >= 0 && c < grid.shape[1])
      const [w, , e, north] = grid.bounds
      if (cells.length) at = [w + ((cells[0][1] + 0.5) * (e - w)) / grid.shape[1], north - ((cells[0][0] + 0.5) * (north - grid.bounds[1])) / grid.shape[0]]
    } else if (numbers.length === 2) {
      const [lat, lon] = [numbers[0] * (/\d[°\s]*S/i.test(asked) ? -1 : 1), numbers[1] * (/\d[°\s]*W/i.test(asked) ? -1 : 1)]
      at = Math.abs(lat) <= 90 && Math.abs(lon) <= 360 && place().lonlat ? fromLonlat(lon, lat) : numbers
    }
    if (!at || !gridCell(...at)) { under.textContent = `"${asked}" is not here. Known: a name of the list, "latitude, longitude"${ids ? `, a ${ids[0]} number` : ""}.`; return }
    const [w, s, e, n] = place().bounds
    const share = Math.min(1, 60 / Object.values(place().grids)[0].shape[1])
    const [dx, dy] = [((e - w) * share) / 2, ((n - s) * share) / 2]
    state.view = fitted([at[0] - dx, at[1] - dy, at[0] + dx, at[1] + dy])
    refresh()
    choose(...at)
  }

  const about = h("div", { class: "about", "aria-live": "polite" })
  about.innerHTML = `<i>${text(facts.click)}</i>`
  const said = h("div", { class: "pale" })
  const legend = h("div", { class: "legend" })
  const regionBox = h("div", { class: "about" })
  let drawing = false
  const regionButton = h("button", { type: "button", "aria-pressed": "false", onclick: () => { drawing = !drawing; regionButton.setAttribute("aria-pressed", drawing); canvas.style.cursor = drawing ? "crosshair" : "" } , title: "drag a rectangle on the map; with Shift held, any outline" }, "region")
  const boxButton = h("button", { type: "button", title: "take what the map shows as the region", onclick: () => { const [w, s, e, n] = state.view; state.region = { points: [[w, s], [w, n], [e, n], [e, s]] }; repaint(); tellRegion() } }, "this view")
  const buttons = h("div", { class: "row" },
    h("button", { type: "button", "aria-label": "closer", onclick: () => zoom(1 / 1.6) }, "+"), h("button", { type: "button", "aria-label": "farther", onclick: () => zoom(1.6) }, "−"),
    h("button", { type: "button", onclick: () => { showAll(); moved() } }, "all"), regionButton, boxButton, h("button", { type: "button", onclick: exportPicture, title: "the map with its legend and caption" }, "PNG"))
  const fields = []
  if (places.length > 1) fields.push(row("place", facts.place_is ?? "source", choice(places.map((p, i) => [i, p.name]), state.place, (v) => { state.place = Number(v); placeChanged() })))
  const images = pictures.filter((l) => l.kind === "image")
  if (images.length) fields.push(row("below", "below", choice([["", "nothing"], ...pictures.map((l) => [l.name, l.title])], state.below, (v) => { state.below = v; refresh() })))
  fields.push(row("top", images.length ? "on top" : "layer", choice([...(images.length ? [["", "nothing"]] : []), ...shown.filter((l) => l.kind !== "image" || l.name !== facts.below).map((l) => [l.name, l.title])], state.top, (v) => { state.top = v; buildOther(); refresh() })))
  for (const d of dims.filter((one) => !one.hidden)) fields.push(d.slider ? slider(d) : row(d.name, d.title || d.name, choice(labels(d).map((l, i) => [i, l]), d.start, (v) => setDim(d.name, Number(v)))))
  if (images.length) { const out = (control["opacity-output"] = h("output")); fields.push(row("opacity", "opacity", h("input", { type: "range", min: 0, max: 1, step: 0.05, value: state.opacity, oninput: (event) => { state.opacity = Number(event.target.value); syncControls(); repaint() } }), out)) }
  if (facts.threshold.steps) { const out = (control["threshold-output"] = h("output")); fields.push(row("threshold", facts.threshold.title ?? "at least", h("input", { type: "range", min: 0, max: facts.threshold.steps.length - 1, step: 1, oninput: (event) => { state.threshold = Number(event.target.value); refresh() } }), out)) }
  const check = (name, words, value, change) => { const input = h("input", { type: "checkbox", checked: value, onchange: () => change(input.checked) }); input.id = `${id}-${name}`; control[name] = input; return h("div", { class: "check", "data-control": name }, input, h("label", { for: input.id }, words)) }
  if (facts.outlined.length) fields.push(check("outlined", facts.outlined[0], true, (v) => { state.outlined = v; refresh() }))
  for (const [i, set] of (facts.outlines ?? []).entries()) fields.push(check(`outlines-${i}`, set.title, true, (v) => { set.shown = v; repaint() }))
  if (facts.groups) fields.push(check("group", `mean of each ${facts.group_is ?? "part"}`, false, (v) => { state.group = v; refresh() }))
  fields.push(row("compare", "compare", choice([["off", "no"], ["swipe", "swipe between two"], ["difference", "difference of two"]], "off", (v) => { state.compare = v; buildOther(); refresh() })), otherBox)
  fields.push(row("search", "go to", search), named)
  startThreshold()

  // ---- hands ---------------------------------------------------------------------------------------------------------------
  const at = (event) => { const box = canvas.getBoundingClientRect(); return [((event.clientX - box.left) / box.width) * size[0], ((event.clientY - box.top) / box.height) * size[1]] }
  let from = null
  canvas.addEventListener("pointercancel", () => { from = null })
  canvas.addEventListener("pointerdown", (event) => {
    const [px, py] = at(event)
    const cut = MARGIN.left + state.swipe * inside()[0]
    from = { px, py, view: state.view, moved: false, swipe: state.compare === "swipe" && Math.abs(px - cut) < 8, region: drawing, free: event.shiftKey, points: [toMap(px, py)] }
    canvas.setPointerCapture(event.pointerId)
  })
  canvas.addEventListener("pointermove", (event) => {
    const [px, py] = at(event)
    if (!from) return hover(px, py)
    from.moved ||= Math.hypot(px - from.px, py - from.py) > 4
    if (!from.moved) return
    if (from.swipe) { state.swipe = clamp((px - MARGIN.left) / inside()[0], 0, 1); if (control.swipe) control.swipe.value = state.swipe; return repaint() }
    const here = toMap(px, py)
    if (from.region) {
      if (from.free) from.points.push(here)
      const [x0, y0] = from.points[0]
      state.region = { points: from.free ? from.points : [[x0, y0], [x0, here[1]], here, [here[0], y0]] }
      return repaint()
    }
    const [w, s, e, n] = from.view
    const [a, b] = inside()
    const [dx, dy] = [((from.px - px) / a) * (e - w), ((py - from.py) / b) * (n - s)]
    state.view = [w + dx, s + dy, e + dx, n + dy]
    moved()
  })
  canvas.addEventListener("pointerup", (event) => {
    const was = from
    from = null
    if (!was) return
    if (was.region && was.moved) { drawing = false; regionButton.setAttribute("aria-pressed", "false"); canvas.style.cursor = ""; return tellRegion() }
    const [px, py] = at(event)
    if (!was.moved && px > MARGIN.left && py < inside()[1]) choose(...toMap(px, py))
  })
  canvas.addEventListener("wheel", (event) => { // a page that is scrolled past the map is not trapped
    if (document.activeElement !== canvas && root.getRootNode().activeElement !== canvas && !event.ctrlKey && !event.metaKey) { under.textContent = "Zoom: Ctrl + wheel, or click the map first."; return }
    event.preventDefault()
    zoom(Math.exp(clamp(event.deltaY, -300, 300) / 500), ...toMap(...at(event)))
  }, { passive: false })
  canvas.addEventListener("dblclick", () => { showAll(); moved() })
  canvas.addEventListener("keydown", (event) => {
    const grid = facts.likeness ? place().grids[facts.likeness.grid] : Object.values(place().grids)[0]
    const [w, s, e, n] = grid.bounds
    const px = Math.max((e - w) / grid.shape[1], (state.view[2] - state.view[0]) / 60)
    const py = Math.max((n - s) / grid.shape[0], (state.view[3] - state.view[1]) / 60)
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key]
    const middle = [(state.view[0] + state.view[2]) / 2, (state.view[1] + state.view[3]) / 2]
    if (arrow && event.shiftKey) pan(arrow[0] * (state.view[2] - state.view[0]) * 0.2, arrow[1] * (state.view[3] - state.view[1]) * 0.2)
    else if (arrow) { const now = state.chosen ?? { x: middle[0], y: middle[1] }; choose(now.x + arrow[0] * px, now.y + arrow[1] * py) }
    else if (event.key === "Enter") choose(...(state.chosen ? [state.chosen.x, state.chosen.y] : middle))
    else if (event.key === "+" || event.key === "=") zoom(1 / 1.6)
    else if (event.key === "-") zoom(1.6)
    else if (event.key === "0") { showAll(); moved() }
    else if (event.key === "Escape") canvas.blur()
    else return
    event.preventDefault()
    event.stopPropagation()
  })
  let pointed = 0
  const hover = (px, py) => {
    const [x, y] = toMap(px, py)
    const cut = state.compare === "swipe" && px > MARGIN.left + state.swipe * inside()[0]
    const plane = cut ? drawn?.other : drawn?.top ?? drawn?.below
    if (!plane || px < MARGIN.left || py > inside()[1]) { under.textContent = ""; return }
    const i = plane.codes ? cellOf(plane, x, y) : -1
    const value = i < 0 ? null : valueOf(plane, plane.codes[i])
    const group = drawn.groups && i >= 0 ? `, ${layerOf[facts.groups].labels[drawn.groups.codes[i]] ?? ""}` : ""
    under.textContent = [placed(x, y, 2) || "", value === null ? "" : `${plane.layer.difference ? "difference" : plane.layer.title}: ${Number.isNaN(value) ? "none" : figure(value, plane.layer)}${group}`].filter(Boolean).join(" · ")
    pointed++
  }

  root.classList.add("geonb-explorer")
  root.replaceChildren(h("div", { class: "left" }, title, h("div", { class: "frame" }, canvas), under, legend, Object.assign(h("div", { class: "notes" }), { innerHTML: facts.notes })),
    h("div", { class: "right" }, buttons, ...fields, said, about, regionBox, h("div", { class: "pale", id: `${id}-keys` }, "Drag moves, Ctrl + wheel (or the wheel after a click) zooms, double click shows all. Keys on the map: arrows move the mark, Shift + arrows the map, + and − zoom, 0 shows all.")))
  fillNames()
  const watch = new ResizeObserver(() => resize())
  watch.observe(canvas.parentElement)
  resize()
  if (facts.likeness) working(async () => { tellAlike(await ask({ what: "alike", chosen: state.like })); repaint() })()
  const set = (changes) => {
    for (const k of ["below", "top", "compare", "opacity"]) if (k in changes) state[k] = changes[k]
    buildOther()
    Object.assign(state.at, changes.at ?? {})
    dimsMoved(Object.keys(changes.at ?? {}))
  }
  const look = (bounds) => { state.view = fitted(bounds); refresh() }
  root.explorer = { set, look, state, toScreen, metres: ground, destroy: () => { watch.disconnect(); Object.values(players).forEach(clearInterval) } }
  return root.explorer
}
