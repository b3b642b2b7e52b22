// The frozen map of embeddings. Everything is in `facts`; its bytes hold, for each series, the principal components of every
// tile as signed bytes (component, time, row from the north, column); see geonb.workloads.clouds.frozen.pack.
const get = (id) => document.getElementById(id)
const text = (s) => String(s).replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c])
const number = (v) => (v < 1000 ? String(+v.toPrecision(3)) : Math.round(v).toLocaleString("en"))
const { series, components } = facts

const unpack = async () => {
  const bytes = Uint8Array.from(atob(facts.data), (c) => c.charCodeAt(0))
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))
  return new Int8Array(await new Response(stream).arrayBuffer())
}
const divide = (all) => {
  let at = 0
  for (const s of series) {
    s.tiles = s.rows * s.columns
    s.all = s.tiles * s.labels.length
    s.bytes = all.subarray(at, at + s.all * components)
    at += s.all * components
  }
}
const there = (s, i) => s.bytes[i] !== facts.no_tile // i counts time, row, column
const vector = (s, i) => Array.from({ length: components }, (_, k) => s.bytes[k * s.all + i])

// squared distances to a vector of the tiles from..to of a series; NaN where there is no tile
const distances = (s, of, from, to) => {
  const sum = new Float64Array(to - from)
  for (let k = 0; k < components; k++) {
    const plane = s.bytes.subarray(k * s.all + from, k * s.all + to)
    for (let i = 0; i < sum.length; i++) sum[i] += (plane[i] - of[k]) ** 2
  }
  for (let i = 0; i < sum.length; i++) sum[i] = there(s, from + i) ? sum[i] * facts.factor : NaN
  return sum
}
const scene = (s, t, of) => distances(s, of, t * s.tiles, (t + 1) * s.tiles)

// take a tile and what overlaps it within some hours out of those that are left
const strike = (left, n, i) => {
  const s = series[n]
  const [t, row, column] = [Math.floor(i / s.tiles), Math.floor((i % s.tiles) / s.columns), i % s.columns]
  s.hours.forEach((hour, other) => {
    const soon = hour !== null && s.hours[t] !== null && Math.abs(hour - s.hours[t]) < facts.apart_h
    if (other !== t && !soon) return
    for (let r = Math.max(0, row - s.reach[0]); r <= Math.min(s.rows - 1, row + s.reach[0]); r++)
      for (let c = Math.max(0, column - s.reach[1]); c <= Math.min(s.columns - 1, column + s.reach[1]); c++)
        left[n][other * s.tiles + r * s.columns + c] = NaN
  })
}
const mostAlike = (chosen, count) => {
  const of = vector(series[chosen.n], chosen.i)
  const left = series.map((s) => distances(s, of, 0, s.all))
  const found = []
  strike(left, chosen.n, chosen.i)
  while (found.length < count) {
    let best = { far: Infinity }
    left.forEach((d, n) => d.forEach((far, i) => { if (far < best.far) best = { n, i, far } }))
    if (best.far === Infinity) break
    found.push(best)
    strike(left, best.n, best.i)
  }
  return found
}

const ramp = (share) => {
  const place = Math.min(1, Math.max(0, share)) * (facts.ramp.length - 1)
  const low = Math.min(facts.ramp.length - 2, Math.floor(place))
  return facts.ramp[low].map((v, i) => v + (place - low) * (facts.ramp[low + 1][i] - v))
}
const colourOf = { // colour of tile i of a scene that begins at `from`; null where there is none
  components: (s, from) => (i) => facts.colours.map(([low, high], k) => {
    const value = k < components ? s.bytes[k * s.all + from + i] : 0
    return 255 * Math.min(1, Math.max(0, (value - low) / Math.max(high - low, 1e-12)))
  }),
  distance: (s, from, far) => (i) => ramp(1 - Math.sqrt(Math.min(far[i] / facts.top, 1))),
}
const paint = (s, t, layer, far) => {
  if (layer === "nothing") return ""
  const canvas = Object.assign(document.createElement("canvas"), { width: s.columns, height: s.rows })
  const picture = new ImageData(s.columns, s.rows)
  const colour = colourOf[layer](s, t * s.tiles, far)
  for (let i = 0; i < s.tiles; i++) if (there(s, t * s.tiles + i)) picture.data.set([...colour(i), 255], 4 * i)
  canvas.getContext("2d").putImageData(picture, 0, 0)
  return canvas.toDataURL()
}

const NS = "http://www.w3.org/2000/svg"
const add = (parent, tag, attributes) => {
  const made = document.createElementNS(NS, tag)
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
  return parent.appendChild(made)
}
const map = get("map")
let [now, view, parts] = [series[0], null, null]
const whole = () => [0, 0, 1000, now.height]
const look = (box) => { view = box; map.setAttribute("viewBox", box.join(" ")) }
const build = () => {
  map.replaceChildren()
  map.style.aspectRatio = `1000 / ${now.height}`
  map.style.maxHeight = "640px"
  map.style.background = facts.paper
  const line = { fill: "none", "vector-effect": "non-scaling-stroke" }
  const below = add(map, "image", { x: 0, y: 0, width: 1000, height: now.height, preserveAspectRatio: "none" })
  const [x, y] = [now.first[0] - now.step[0] / 2, now.first[1] - now.step[1] / 2]
  const size = { width: now.step[0] * now.columns, height: now.step[1] * now.rows }
  const above = add(map, "image", { id: "above", x, y, ...size, preserveAspectRatio: "none", style: "image-rendering:pixelated" })
  for (const [d, stroke] of [...now.lines.coast.map((d) => [d, "#ffe08a"]), ...now.lines.borders.map((d) => [d, "#c9b48a"])]) add(map, "path", { d, stroke, "stroke-width": 1.3, ...line })
  parts = { below, above, marks: add(map, "g", {}) }
  look(whole())
}
const centre = (s, i) => [s.first[0] + (i % s.columns) * s.step[0], s.first[1] + Math.floor((i % s.tiles) / s.columns) * s.step[1]]
const outline = (s, i, colour, dash, name) => {
  const [x, y] = centre(s, i)
  const box = { x: x - s.side[0] / 2, y: y - s.side[1] / 2, width: s.side[0], height: s.side[1], fill: "none", "vector-effect": "non-scaling-stroke" }
  add(parts.marks, "rect", { ...box, stroke: "#fff", "stroke-width": 5 })
  add(parts.marks, "rect", { ...box, stroke: colour, "stroke-width": 2.5, "stroke-dasharray": dash })
  if (!name) return
  const size = (13 * view[2]) / map.clientWidth
  add(parts.marks, "text", { x, y: y + size / 3, "font-size": size, "text-anchor": "middle", fill: "#fff", stroke: "#000", "stroke-width": size / 5, "paint-order": "stroke", "font-weight": 700 }).textContent = name
}

const between = (s, grid, x, y) => { // bilinear in a square grid over the scene; NaN where a corner is off the Earth
  const side = Math.sqrt(grid.length)
  const [u, v] = [(x / 1000) * (side - 1), (y / s.height) * (side - 1)].map((w) => Math.min(side - 1.000001, Math.max(0, w)))
  const [c, r] = [Math.floor(u), Math.floor(v)]
  const [a, b, d, e] = [0, 1, side, side + 1].map((k) => grid[r * side + c + k] ?? NaN)
  return (a * (1 - u + c) + b * (u - c)) * (1 - v + r) + (d * (1 - u + c) + e * (u - c)) * (v - r)
}
const placed = (s, x, y, digits = 2) => {
  const [lon, lat] = s.lonlat ? s.lonlat.map((grid) => between(s, grid, x, y)) : [NaN, NaN]
  return isFinite(lon + lat) ? `${Math.abs(lat).toFixed(digits)}° ${lat < 0 ? "S" : "N"}, ${Math.abs(lon).toFixed(digits)}° ${lon < 0 ? "W" : "E"}` : "place unknown"
}
const nearest = (s, x, y) => {
  if (x < 0 || y < 0 || x > 1000 || y > s.height) return -1
  const [c, r] = [Math.round((x - s.first[0]) / s.step[0]), Math.round((y - s.first[1]) / s.step[1])]
  return Math.min(s.rows - 1, Math.max(0, r)) * s.columns + Math.min(s.columns - 1, Math.max(0, c))
}

let chosen = null
let alike = []
const loaded = new Map() // pictures of scenes, decoded once
const picture = async (s, t) => {
  const key = `${s.name} ${t}`
  if (!s.scenes[t]) return null
  if (!loaded.has(key)) {
    const image = new Image()
    image.src = s.scenes[t]
    await image.decode()
    loaded.set(key, image)
  }
  return loaded.get(key)
}
const cut = async (canvas, { n, i }) => {
  const s = series[n]
  const image = await picture(s, Math.floor(i / s.tiles))
  if (!image) return
  const [[x, y], unit] = [centre(s, i), image.width / 1000]
  canvas.getContext("2d").drawImage(image, (x - s.side[0] / 2) * unit, (y - s.side[1] / 2) * unit, s.side[0] * unit, s.side[1] * unit, 0, 0, canvas.width, canvas.height)
}
const show = () => { // the tile and its most alike as pictures
  get("tiles").replaceChildren(...[chosen, ...alike].map((one, rank) => {
    const s = series[one.n]
    const made = document.createElement("div")
    const canvas = Object.assign(document.createElement("canvas"), { width: 184, height: 184 })
    canvas.style.border = `3px solid ${rank ? facts.marks.alike : facts.marks.chosen}`
    const about = document.createElement("span")
    about.innerHTML = `<b>${rank || "the tile"}</b>${rank ? `: ${number(one.far)}` : ""}${series.length > 1 ? `<br>${text(s.name)}` : ""}<br>${s.short[Math.floor(one.i / s.tiles)]}<br>${placed(s, ...centre(s, one.i), 1)}`
    made.append(canvas, about)
    cut(canvas, one)
    return made
  }))
}
const median = (values) => values.sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)]
const tell = (t, far) => {
  const s = series[chosen.n]
  const [known, same] = [Array.from(far).filter(isFinite), s === now && t === Math.floor(chosen.i / s.tiles)]
  const rows = []
  if (!same && known.length) rows.push(["its nearest tile", number(Math.min(...known))])
  if (!same && s === now && isFinite(far[chosen.i % s.tiles])) rows.push(["the same place", number(far[chosen.i % s.tiles])])
  if (known.length) {
    const share = (100 * known.filter((v) => v < facts.near).length) / known.length
    rows.push(["the median of its tiles", number(median(known))], [`share nearer than ${facts.measured ? "neighbours" : "a tenth of pairs"} (${number(facts.near)})`, `${share.toFixed(1)}%`])
  }
  const apart = series.some((one) => one.labels.length > 1) ? ` within ${facts.apart_h} hours` : ""
  get("tile").innerHTML = `<b>${placed(s, ...centre(s, chosen.i))}</b>, ${series.length > 1 ? `${text(s.name)}, ` : ""}${text(s.labels[Math.floor(chosen.i / s.tiles)])} <span class="pale">${s.size}</span>
    <div>Squared distance to the tiles of ${text(now.labels[t])}:</div><table>${rows.map(([name, value]) => `<tr><td>${name}</td><td>${value}</td></tr>`).join("")}</table>
    <div>It, and the five most alike of the scenes here; <span class="pale">none overlaps another${apart}.</span></div>`
}

let far = null
const draw = () => {
  const [t, layer] = [Number(get("time").value), get("layer").value]
  get("time_is").value = now.labels[t]
  get("opacity_is").value = `${Math.round(100 * get("opacity").value)} %`
  const own = series[chosen.n]
  far = scene(now, t, vector(own, chosen.i))
  parts.below.setAttribute("href", now.scenes[t] ?? "")
  parts.above.setAttribute("href", paint(now, t, layer, far))
  parts.above.setAttribute("opacity", get("opacity").value)
  parts.marks.replaceChildren()
  if (get("marks").checked) {
    const n = series.indexOf(now)
    alike.forEach((one, rank) => { if (one.n === n && Math.floor(one.i / now.tiles) === t) outline(now, one.i, facts.marks.alike, "none", String(rank + 1)) })
    if (chosen.n === n) outline(now, chosen.i, facts.marks.chosen, Math.floor(chosen.i / now.tiles) === t ? "none" : "6 4")
  }
  const to = layer === "distance" ? `: distance to the tile at ${placed(own, ...centre(own, chosen.i))}, ${own.labels[Math.floor(chosen.i / own.tiles)]}` : ""
  get("title").textContent = `${series.length > 1 ? `${now.name}, ` : ""}${now.labels[t]}${to}`
  get("legend").innerHTML = facts.legends[layer]
  tell(t, far)
  document.documentElement.dataset.geonb = `${now.name} | ${now.labels[t]} | ${layer}`
}
const choose = (n, i) => {
  chosen = { n, i }
  alike = mostAlike(chosen, 5)
  show()
}
const go = () => {
  now = series[Number(get("series").value)]
  Object.assign(get("time"), { max: now.labels.length - 1 })
  get("time").value = Math.min(get("time").value, now.labels.length - 1)
  build()
  draw()
}

const under = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(map.getScreenCTM().inverse())
const listen = () => {
  for (const id of ["time", "layer", "opacity", "marks"]) get(id).addEventListener("input", draw)
  get("series").addEventListener("input", go)
  let [timer, from] = [null, null]
  get("play").addEventListener("click", () => {
    if (timer) { clearInterval(timer); timer = null } else timer = setInterval(() => { get("time").value = (Number(get("time").value) + 1) % now.labels.length; draw() }, 700)
    get("play").textContent = timer ? "❚❚" : "▶"
  })
  map.addEventListener("pointerdown", (event) => { from = { at: under(event), moved: false }; map.setPointerCapture(event.pointerId) })
  map.addEventListener("pointermove", (event) => {
    const here = under(event)
    if (from && (from.moved || Math.hypot(here.x - from.at.x, here.y - from.at.y) > view[2] / 100)) {
      from.moved = true
      look([view[0] + from.at.x - here.x, view[1] + from.at.y - here.y, view[2], view[3]])
    }
    const i = nearest(now, here.x, here.y)
    get("under").textContent = i < 0 ? "" : `${placed(now, here.x, here.y)}: ${isFinite(far[i]) ? `squared distance ${number(far[i])}` : "no tile"}`
  })
  map.addEventListener("pointerup", (event) => {
    const [here, t] = [under(event), Number(get("time").value)]
    const i = nearest(now, here.x, here.y)
    if (from && !from.moved && i >= 0 && there(now, t * now.tiles + i)) {
      choose(series.indexOf(now), t * now.tiles + i)
      if (get("layer").value === "components") get("layer").value = "distance"
      draw()
    }
    from = null
  })
  map.addEventListener("dblclick", () => { look(whole()); draw() })
  map.addEventListener("wheel", (event) => {
    event.preventDefault()
    const at = under(event)
    const by = Math.min(whole()[2] / view[2], Math.max(0.05, Math.exp(event.deltaY / 500)))
    look([at.x - (at.x - view[0]) * by, at.y - (at.y - view[1]) * by, view[2] * by, view[3] * by])
    draw()
  }, { passive: false })
}

const options = (id, names) => { get(id).innerHTML = names.map(([value, name]) => `<option value="${value}">${text(name)}</option>`).join("") }
options("series", series.map((s, n) => [n, s.name]))
options("layer", Object.entries(facts.layers))
get("series_row").style.display = series.length > 1 ? "" : "none"
get("time_row").style.display = series.some((s) => s.labels.length > 1) ? "" : "none"
get("left_out").textContent = facts.left_out
get("time").value = 0
unpack().then((all) => {
  divide(all)
  // the tile in the middle of the first scene that has any
  let first = null
  series.forEach((s, n) => {
    for (let i = 0; !first && i < s.all; i += s.tiles) {
      const tiles = Array.from({ length: s.tiles }, (_, k) => k).filter((k) => there(s, i + k))
      const off = (k) => (Math.floor(k / s.columns) - (s.rows - 1) / 2) ** 2 + ((k % s.columns) - (s.columns - 1) / 2) ** 2
      if (tiles.length) first = [n, i + tiles.reduce((a, b) => (off(b) < off(a) ? b : a))]
    }
  })
  choose(...first)
  get("series").value = first[0]
  get("time").value = Math.floor(first[1] / series[first[0]].tiles)
  listen()
  go()
})
