// Small things that every page uses: elements, words, numbers, colours, files. Nothing here knows of a viewer.
const h = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag)
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value)
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value)
  }
  made.append(...children.flat().filter((c) => c !== null && c !== undefined))
  return made
}
const button = (words, click, attributes = {}) => h("button", { type: "button", onclick: click, ...attributes }, words)
const text = (s) => String(s).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c])
const scrolled = (label, rows) => // a table, as HTML
  `<div class="scroll" tabindex="0" role="region" aria-label="${label}"><table>${rows}</table></div>`
const pixelRatio = () => Math.min(2, window.devicePixelRatio || 1)

// ---- numbers ----
const clamp = (v, low, high) => Math.min(high, Math.max(low, v))
const average = (values) => values.reduce((s, v) => s + v, 0) / values.length
const nice = (least) => { // the next of 1, 2, 5, 10, 20 ...
  const power = 10 ** Math.floor(Math.log10(least))
  return [1, 2, 5, 10].map((k) => k * power).find((v) => v >= least)
}
const decimals = (step) => Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) // that tell two steps apart
const figure = (v, layer) => { // a layer's number or class, for people
  if (v === null || !Number.isFinite(v)) return "none"
  if (layer.kind === "classes") return layer.labels[v] ?? "none"
  if (layer.form === "percent") return `${100 * v >= 9.95 ? Math.round(100 * v) : +(100 * v).toPrecision(2)} %`
  const whole = layer.form === "integer" || Math.abs(v) >= 1000
  const number = whole ? Math.round(v).toLocaleString("en") : String(+v.toPrecision(Number(layer.form)))
  const capped = layer.high !== null && v === layer.high ? "≥ " : "" // colours, and a page's bytes, end there
  return capped + (layer.unit ? `${number} ${layer.unit}` : number)
}
const monthsOn = (month, by) => { // "2019-01", 3 -> "2019-04"
  const [y, m] = month.split("-").map(Number)
  const n = y * 12 + m - 1 + by
  return `${Math.floor(n / 12)}-${String((n % 12) + 1).padStart(2, "0")}`
}

// ---- colours ----
const DIVERGING = ["#2166ac", "#67a9cf", "#d1e5f0", "#f7f7f7", "#fddbc7", "#ef8a62", "#b2182b"]
const RIGHT = ["#dfe7ea", "#b5400f"] // agrees, does not
const JUDGED = ["", "#1b7837", "#c51b7d", "#f4a736"] // neither, hit, miss, false alarm
const MARK = "#d7191c" // what is chosen
const [TILE, ALIKE] = ["#e0218a", "#f28e1c"] // the tile that is chosen, those like it
const DASHES = ["", "6 3", "2 2", "8 3 2 3", "1 3", "10 4", "4 4", "6 2 1 2", "3 1"]
const rgb = (c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16))
const packed = ([r, g, b], a = 255) => ((a << 24) | (b << 16) | (g << 8) | r) >>> 0
const mixed = (stops, share) => {
  const at = clamp(share, 0, 1) * (stops.length - 1)
  const low = Math.min(Math.floor(at), stops.length - 2)
  const [from, to] = [stops[low], stops[low + 1]].map((c) => [...rgb(c), c.length > 7 ? parseInt(c.slice(7), 16) : 255])
  return from.map((v, i) => Math.round(v + (at - low) * (to[i] - v)))
}

// ---- files and frames ----
const quoted = (v) => (/[",\n]/.test(String(v)) ? `"${String(v).replace(/"/g, '""')}"` : v)
const csv = (rows) => rows.map((row) => row.map(quoted).join(",")).join("\n")
const download = (root, name, data, type) => {
  const link = h("a", { download: name, href: URL.createObjectURL(new Blob([data], { type })) })
  root.append(link)
  link.click()
  link.remove()
}
const outerFrame = () => { // the iframe that this page lies in; null where there is none, or of another origin
  try { return window.frameElement } catch { return null }
}
const asHighAsItsPage = (frame) => {
  if (!frame) return
  const grow = () => { frame.style.height = `${Math.ceil(document.body.scrollHeight) + 4}px` }
  new ResizeObserver(grow).observe(document.body)
}
