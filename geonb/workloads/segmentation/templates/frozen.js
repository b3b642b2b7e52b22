// The frozen map: one function body, run by Bokeh when the page is ready, for every control and for every click.
// Everything is in `facts`; the planes of a source are bytes (bands, truth, labels, split, probabilities), rows north first.
const state = (window.geonb ??= { facts: JSON.parse(facts), planes: {} })
const { classes, models, table, ramp, splits, parts } = state.facts

const unpack = async (part) => {
  const bytes = Uint8Array.from(atob(part.data), (c) => c.charCodeAt(0))
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))
  return new Uint8Array(await new Response(stream).arrayBuffer())
}

const reader = (part, all) => {
  const size = part.width * part.height
  const plane = (n) => all.subarray(n * size, (n + 1) * size)
  const b = part.bands.length
  return {
    band: (n) => plane(n),
    truth: plane(b),
    label: (m) => plane(b + 1 + m),
    split: plane(b + 1 + models.length),
    probability: (m, c) => (m < part.models ? plane(b + 2 + models.length + m * classes.length + c) : null),
  }
}

const opaque = ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0
const onRamp = (v) => {
  const at = v * (ramp.length - 1)
  const low = Math.min(Math.floor(at), ramp.length - 2)
  return opaque(ramp[low].map((from, i) => Math.round(from + (at - low) * (ramp[low + 1][i] - from))))
}

const GAMMA = 0.75 // as in the static maps
// the colour of one pixel, as a function of its position, for a layer; 0 is transparent
const painter = (layer, part, read, m, c, least) => {
  const colours = table.map(opaque)
  if (layer === "truth" || layer === "label") {
    const values = layer === "truth" ? read.truth : read.label(m)
    return (i) => colours[values[i]] ?? 0
  }
  if (layer === "wrong") {
    const [truth, label, yes, no] = [read.truth, read.label(m), opaque(state.facts.wrong), opaque(state.facts.right)]
    return (i) => (truth[i] === 255 || label[i] === 255 ? 0 : truth[i] === label[i] ? no : yes)
  }
  if (layer === "image") {
    const three = part.rgb.length === 3 ? part.rgb : [part.rgb[0], part.rgb[0], part.rgb[0]]
    const bands = three.map(([n, low, high]) => [read.band(n), low, 1 / Math.max(high - low, 1e-9)])
    return (i) => (bands[0][0][i] === 255 ? 0 : opaque(bands.map(([v, low, k]) => Math.max(0, Math.min(255, Math.round(255 * Math.max(0, (v[i] - low) * k) ** GAMMA))))))
  }
  if (layer === "probability" || layer === "sure") {
    const some = layer === "sure" ? classes.map((_, k) => read.probability(m, k)) : [read.probability(m, c)]
    if (some[0] === null) return () => 0
    const shades = Array.from({ length: part.levels + 1 }, (_, v) => (v / part.levels >= least - 1e-9 ? onRamp(v / part.levels) : 0))
    return (i) => (some[0][i] === 255 ? 0 : shades[Math.max(...some.map((p) => p[i]))])
  }
  return () => 0
}

const paint = (part, colour) => {
  const { width, height } = part
  const out = new Uint32Array(width * height)
  for (let row = 0; row < height; row++)
    for (let x = 0; x < width; x++) out[(height - 1 - row) * width + x] = colour(row * width + x)
  return out
}
const flipped = (part, values) => {
  const out = new Uint8Array(values.length)
  for (let row = 0; row < part.height; row++)
    out.set(values.subarray(row * part.width, (row + 1) * part.width), (part.height - 1 - row) * part.width)
  return out
}
// Bokeh wants arrays that know their shape
const shaped = (part, array, dtype) => {
  const { ndarray } = Bokeh.require("core/util/ndarray")
  return ndarray(array, { dtype, shape: [part.height, part.width] })
}

const lonlat = (part, x, y) => {
  if (!part.lonlat) return ""
  const [west, south, east, north] = part.whole
  const side = Math.sqrt(part.lonlat[0].length)
  const [u, v] = [((x - west) / (east - west)) * (side - 1), ((y - south) / (north - south)) * (side - 1)]
  const [i, j] = [Math.min(Math.floor(u), side - 2), Math.min(Math.floor(v), side - 2)]
  const mix = (g) => {
    const at = (a, b) => g[(j + b) * side + i + a]
    const [p, q] = [u - i, v - j]
    return (1 - q) * ((1 - p) * at(0, 0) + p * at(1, 0)) + q * ((1 - p) * at(0, 1) + p * at(1, 1))
  }
  return `${mix(part.lonlat[1]).toFixed(5)}°, ${mix(part.lonlat[0]).toFixed(5)}° (lat, lon)`
}

const text = (s) => String(s).replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c])
const bar = (v, levels) =>
  v === null || v === 255
    ? "<td style='color:#999'>-</td>"
    : `<td style="min-width:66px;background:linear-gradient(90deg,#c9d8e6 ${(100 * v) / levels}%,transparent ${(100 * v) / levels}%)">${(v / levels).toFixed(2)}</td>`

const tell = (part, read, x, y) => {
  const [west, south, east, north] = part.bounds
  const column = Math.floor(((x - west) / (east - west)) * part.width)
  const row = Math.floor(((north - y) / (north - south)) * part.height)
  if (row < 0 || column < 0 || row >= part.height || column >= part.width) return "<i>Outside the scene.</i>"
  const i = row * part.width + column
  const name = (k) => text(classes[k] ?? "none")
  const px = west + ((column + 0.5) / part.width) * (east - west)
  const py = north - ((row + 0.5) / part.height) * (north - south)
  click.data = { x: [px], y: [py] }
  const values = part.bands.map((b, n) => {
    const v = read.band(n)[i]
    const value = v === 255 ? "no data" : (b.exact ? "" : "~") + +(b.offset + v * b.scale).toPrecision(5)
    return `${text(b.name)} ${value}`
  })
  const head = models.map((m, k) => `<th>${text(m)}<br><small>${name(read.label(k)[i])}</small></th>`).join("")
  const body = classes.map((c, k) => {
    const cells = models.map((_, m) => bar(read.probability(m, k)?.[i] ?? null, part.levels)).join("")
    return `<tr><td style="border-left:10px solid rgb(${table[k]});padding-left:5px">${text(c)}</td>${cells}</tr>`
  })
  return `<div style="font:12px sans-serif"><b>${px.toLocaleString("en")} E, ${py.toLocaleString("en")} N</b><br>
    ${lonlat(part, px, py)}; ${splits[read.split[i]]} split<br>bands: ${values.join(", ") || "not given"}<br>
    truth: <b>${name(read.truth[i])}</b><table style="border-spacing:4px 1px;text-align:left">
    <tr><th>class</th>${head}</tr>${body.join("")}</table></div>`
}

const part = parts.find((p) => p.name === c_source.value)
state.planes[part.name] ??= unpack(part)
state.planes[part.name].then((all) => {
  const read = reader(part, all)
  if (cb_obj?.event_name === "tap") {
    about.text = tell(part, read, cb_obj.x, cb_obj.y)
    return
  }
  const m = models.indexOf(c_model.value)
  const [west, south, east, north] = part.bounds
  const box = { x: [west], y: [south], dw: [east - west], dh: [north - south] }
  const image = (layer) => [shaped(part, paint(part, painter(layer, part, read, m, classes.indexOf(c_category.value), c_threshold.value)), "uint32")]
  base.data = { image: image(c_below.value), ...box }
  overlay.data = { image: image(c_top.value), ...box }
  glyph.global_alpha = c_opacity.value
  const under = (values) => [shaped(part, flipped(part, values), "uint8")]
  hover.data = { label: under(read.label(m)), truth: under(read.truth), ...box }
  if (state.shown !== part.name) {
    const [w, s, e, n] = part.whole
    plot.x_range.setv({ start: w, end: e, reset_start: w, reset_end: e })
    plot.y_range.setv({ start: s, end: n, reset_start: s, reset_end: n })
    if (state.shown) click.data = { x: [], y: [] }
    state.shown = part.name
  }
  document.documentElement.dataset.geonb = `${part.name} ${c_below.value} ${c_top.value} ${c_model.value}`
})
