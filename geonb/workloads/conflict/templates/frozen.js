// The frozen map of forecasts. Everything is in `facts`; its bytes hold, at the cells of the region (rows north first): truth,
// probabilities (square root, 0-254), spread and past events; see geonb.workloads.conflict.frozen.pack.
const get = (id) => document.getElementById(id)
const { height, width, bounds, cells, models, months, splits, leads, outcomes, past } = facts
const [west, south, east, north] = bounds
const nothing = 255
const text = (s) => String(s).replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c])
const squeeze = Math.max(0.2, Math.cos((((south + north) / 2) * Math.PI) / 180)) // a degree of longitude against one of latitude

const unpack = async () => {
  const bytes = Uint8Array.from(atob(facts.data), (c) => c.charCodeAt(0))
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))
  return new Uint8Array(await new Response(stream).arrayBuffer())
}

const reader = (all) => {
  const maps = outcomes.length * months.length * leads.length
  const valid = all.subarray(0, height * width)
  const at = (o, t, l) => (o * months.length + t) * leads.length + l
  const plane = (n) => all.subarray(height * width + n * cells, height * width + (n + 1) * cells)
  const after = maps * (1 + models.length)
  const place = new Int32Array(height * width).fill(-1) // pixel -> cell
  valid.forEach((yes, i) => { if (yes) place[i] = reader.next++ })
  return {
    valid, place,
    truth: (o, t, l) => plane(at(o, t, l)),
    probability: (m, o, t, l) => plane(maps * (1 + m) + at(o, t, l)),
    spread: (o, t, l) => plane(after + at(o, t, l)),
    past: (o, k) => plane(after + (facts.spread ? maps : 0) + o * past.months + k),
  }
}
reader.next = 0

const share = (byte) => (byte / 254) ** 2
const shift = (month, by) => {
  const [y, m] = month.split("-").map(Number)
  const n = y * 12 + m - 1 + by
  return `${Math.floor(n / 12)}-${String((n % 12) + 1).padStart(2, "0")}`
}
const percent = (v) => `${v >= 0.0995 ? Math.round(100 * v) : +(100 * v).toPrecision(2)} %`
const hex = (c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16)).concat(255)
const choice = () => Object.fromEntries(["model", "outcome", "month", "lead"].map((id) => [id, Number(get(id).value)]))
const threshold = () => facts.thresholds[Number(get("threshold").value)]

// 0 neither, 1 hit, 2 miss, 3 false alarm of every cell; null where the truth is not known
const judge = (read, { model, outcome, month, lead }) => {
  const [truth, guess] = [read.truth(outcome, month, lead), read.probability(model, outcome, month, lead)]
  if (truth.every((v) => v === nothing)) return null
  return truth.map((v, i) => {
    if (v === nothing) return 0
    const warned = guess[i] !== nothing && share(guess[i]) >= threshold() - 1e-9
    return v === 1 ? (warned ? 1 : 2) : warned ? 3 : 0
  })
}

// the colour of each cell, four bytes, for a layer
const painter = (read, layer, at) => {
  const { model, outcome, month, lead } = at
  if (layer === "probability" || layer === "spread") {
    const values = layer === "spread" ? read.spread(outcome, month, lead) : read.probability(model, outcome, month, lead)
    return (i) => facts.ramps[layer][values[i]]
  }
  if (layer === "truth") {
    const [truth, colour] = [read.truth(outcome, month, lead), hex(outcomes[outcome].colour)]
    return (i) => (truth[i] === 1 ? colour : null)
  }
  const [judged, colours] = [judge(read, at), facts.colours.hits.map(hex)]
  return (i) => (judged?.[i] ? colours[judged[i] - 1] : null)
}

const canvas = Object.assign(document.createElement("canvas"), { width, height })
const paint = (read, colour) => {
  const picture = new ImageData(width, height)
  read.place.forEach((cell, i) => picture.data.set((cell < 0 ? facts.colours.veil : colour(cell)) ?? [0, 0, 0, 0], 4 * i))
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
const whole = [west * squeeze, -north, (east - west) * squeeze, north - south]
let view = [...whole]
const look = (box) => { view = box; map.setAttribute("viewBox", box.join(" ")) }
const build = () => {
  map.style.aspectRatio = `${whole[2]} / ${whole[3]}`
  map.style.maxHeight = "600px"
  map.style.background = facts.colours.sea
  const world = add(map, "g", { transform: `scale(${squeeze} 1)` })
  const line = { fill: "none", "vector-effect": "non-scaling-stroke" }
  for (const d of facts.ground.land) add(world, "path", { d, fill: facts.colours.land })
  const image = add(world, "image", { x: west, y: -north, width: east - west, height: north - south, preserveAspectRatio: "none", style: "image-rendering:pixelated" })
  for (const d of facts.ground.coast) add(world, "path", { d, stroke: facts.colours.coast, "stroke-width": 1.2, ...line })
  for (const d of facts.ground.borders) add(world, "path", { d, stroke: facts.colours.borders, "stroke-width": 1.1, ...line })
  const came = add(world, "path", { stroke: "#000", "stroke-width": 1, ...line })
  const under = add(world, "path", { stroke: "#fff", "stroke-width": 5, ...line })
  const cross = add(world, "path", { stroke: "#1f6fd0", "stroke-width": 2.5, ...line })
  look(whole)
  return { image, came, under, cross }
}

const size = [(east - west) / width, (north - south) / height]
const centre = (i) => [west + ((i % width) + 0.5) * size[0], north - (Math.floor(i / width) + 0.5) * size[1]]
const outline = (i, part = 0.41) => {
  const [x, y] = centre(i)
  const [a, b] = [size[0] * part, size[1] * part]
  return `M${x - a} ${-y - b}H${x + a}V${-y + b}H${x - a}Z`
}
const under = (event) => { // the pixel under the pointer
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(map.getScreenCTM().inverse())
  const [column, row] = [Math.floor((at.x / squeeze - west) / size[0]), Math.floor((north + at.y) / size[1])]
  return { x: at.x, y: at.y, pixel: column >= 0 && row >= 0 && column < width && row < height ? row * width + column : -1 }
}
const placed = (i) => {
  const [x, y] = centre(i)
  return `${Math.abs(y)}° ${y < 0 ? "S" : "N"}, ${Math.abs(x)}° ${x < 0 ? "W" : "E"}`
}

// one cell: its past as ticks, forecasts as lines after the dashed origin, what came true as dots, and all of it as a table
const tell = (read, pixel, { outcome, month }) => {
  const cell = read.place[pixel]
  const [x, y] = centre(pixel)
  const gid = Math.floor((y + 90) * 2) * 720 + Math.floor((x + 180) * 2) + 1
  const guess = models.map((_, m) => leads.map((_, l) => read.probability(m, outcome, month, l)[cell]))
  const truth = leads.map((_, l) => read.truth(outcome, month, l)[cell])
  const half = Math.abs(size[0] - 0.5) < 1e-6 && Math.abs(size[1] - 0.5) < 1e-6
  const country = facts.country?.[pixel]
  const head = models.map((name, m) => `<th style="color:${facts.model_colours[m]}">${text(name)}</th>`).join("")
  const rows = leads.map((lead, l) => {
    const each = guess.map((g) => (g[l] === nothing ? "<td>-</td>"
      : `<td style="min-width:56px;background:linear-gradient(90deg,#fdd9b0 ${100 * share(g[l])}%,transparent ${100 * share(g[l])}%)">${percent(share(g[l]))}</td>`))
    return `<tr><td>${shift(months[month], lead - 1)}</td><td>${["no", "yes"][truth[l]] ?? "?"}</td>${each.join("")}</tr>`
  })
  return `<b>${placed(pixel)}</b> ${half ? `PRIO-GRID ${gid}` : ""}${country ? `, UCDP country ${country}` : ""}
    ${chart(read, cell, outcome, month, guess, truth)}<div class="scroll"><table><tr><th>month</th><th>came</th>${head}</tr>${rows.join("")}</table></div>`
}

const chart = (read, cell, outcome, month, guess, truth) => {
  const known = past.first ? Array.from({ length: past.months }, (_, k) => [shift(past.first, k), read.past(outcome, k)[cell]]).filter(([when]) => when < months[month]) : []
  const [w, split] = [400, (known.length ? 220 : 0) + 4]
  const [step, ahead] = [(split - 6) / Math.max(1, known.length), (w - split - 6) / leads.length]
  const top = Math.max(0.1, ...guess.flat().filter((v) => v !== nothing).map(share))
  const ticks = known.map(([, v], k) => (v ? `<rect x="${4 + k * step}" y="12" width="${Math.max(1, step * 0.8)}" height="66" fill="#777"/>` : "")).join("")
  const lines = guess.map((g, m) => {
    const points = g.map((v, l) => [split + (l + 0.5) * ahead, 78 - (66 * share(v)) / top, v]).filter((p) => p[2] !== nothing)
    const colour = facts.model_colours[m]
    return `<polyline points="${points.map((p) => `${p[0]},${p[1]}`).join(" ")}" fill="none" stroke="${colour}" stroke-width="${m ? 1.1 : 2.2}"/>` + points.map((p) => `<circle cx="${p[0]}" cy="${p[1]}" r="1.8" fill="${colour}"/>`).join("")
  })
  const dots = truth.map((v, l) => (v === 1 ? `<circle cx="${split + (l + 0.5) * ahead}" cy="83" r="3.2"/>` : "")).join("")
  return `<svg viewBox="0 0 ${w} 96" style="width:100%;display:block" font-size="9">${ticks}<path d="M4 78H${w}" stroke="#999"/>
    <path d="M${split} 4V78" stroke="#555" stroke-dasharray="3 2"/>${lines.reverse().join("")}${dots}
    <text x="${w - 2}" y="9" text-anchor="end" fill="#555">top ${percent(top)}; black dots: it came true</text>
    <text x="4" y="94" fill="#555">${known.length ? `events since ${known[0][0]}` : ""}</text><text x="${split + 2}" y="94" fill="#555">forecast from ${months[month]}</text></svg>`
}

let chosen = -1
const draw = (read, parts) => {
  const at = choice()
  const layer = get("layer").value
  const own = layer === "hits"
  get("month_is").value = `${months[at.month]} ${splits[at.month]}`
  get("lead_is").value = `${leads[at.lead]} month${leads[at.lead] > 1 ? "s" : ""} ahead`
  get("threshold_is").value = percent(threshold())
  get("threshold").disabled = !own
  parts.image.setAttribute("href", paint(read, painter(read, layer, at)))
  const truth = read.truth(at.outcome, at.month, at.lead)
  const there = get("marks").checked ? Array.from(read.place.keys()).filter((i) => read.place[i] >= 0 && truth[read.place[i]] === 1) : []
  parts.came.setAttribute("d", there.map((i) => outline(i)).join("") || "M0 0")
  const by = layer === "truth" ? "" : `, ${models[layer === "spread" ? 0 : at.model]}`
  get("title").textContent = `${facts.layers[layer]} of ${outcomes[at.outcome].name} in ${shift(months[at.month], leads[at.lead] - 1)}${by}, known until ${shift(months[at.month], -1)}`
  const judged = judge(read, at)
  const count = (k) => judged.reduce((sum, v) => sum + (v === k), 0).toLocaleString("en")
  get("counts").textContent = judged ? `Warning from ${percent(threshold())}: hits ${count(1)}, misses ${count(2)}, false alarms ${count(3)} of ${cells.toLocaleString("en")} cells.` : "Not known yet what came true."
  get("legend").innerHTML = facts.legends[at.outcome][layer] + `<div style="color:#666;font-size:11px">${text(facts.left_out)}</div>`
  for (const part of [parts.under, parts.cross]) part.setAttribute("d", chosen >= 0 ? outline(chosen, 0.5) : "M0 0")
  if (chosen >= 0) get("cell").innerHTML = tell(read, chosen, at)
  document.documentElement.dataset.geonb = `${months[at.month]} ${leads[at.lead]} ${models[at.model]} ${layer}`
}

const listen = (read, parts) => {
  const again = () => draw(read, parts)
  for (const id of ["month", "lead", "model", "outcome", "layer", "threshold", "marks"]) get(id).addEventListener("input", again)
  let timer = null
  get("play").addEventListener("click", () => {
    if (timer) { clearInterval(timer); timer = null } else timer = setInterval(() => { get("month").value = (Number(get("month").value) + 1) % months.length; again() }, 800)
    get("play").textContent = timer ? "❚❚" : "▶"
  })
  let from = null
  map.addEventListener("pointerdown", (event) => { from = { ...under(event), moved: false }; map.setPointerCapture(event.pointerId) })
  map.addEventListener("pointermove", (event) => {
    const here = under(event)
    if (from && (from.moved || Math.hypot(here.x - from.x, here.y - from.y) > view[2] / 100)) {
      from.moved = true
      look([view[0] + from.x - here.x, view[1] + from.y - here.y, view[2], view[3]])
    }
    const cell = here.pixel < 0 ? -1 : read.place[here.pixel]
    const { model, outcome, month, lead } = choice()
    const value = cell < 0 ? nothing : read.probability(model, outcome, month, lead)[cell]
    get("under").textContent = value === nothing ? "" : `${placed(here.pixel)}: ${percent(share(value))} (${models[model]})`
  })
  map.addEventListener("pointerup", (event) => {
    const here = under(event)
    if (from && !from.moved && here.pixel >= 0 && read.place[here.pixel] >= 0) { chosen = here.pixel; again() }
    from = null
  })
  map.addEventListener("dblclick", () => look(whole))
  map.addEventListener("wheel", (event) => {
    event.preventDefault()
    const at = under(event)
    const by = Math.min(whole[2] / view[2], Math.max(0.05, Math.exp(event.deltaY / 500)))
    look([at.x - (at.x - view[0]) * by, at.y - (at.y - view[1]) * by, view[2] * by, view[3] * by])
  }, { passive: false })
}

const options = (id, names) => { get(id).innerHTML = names.map(([value, name]) => `<option value="${value}">${text(name)}</option>`).join("") }
options("model", models.map((name, i) => [i, name]))
options("outcome", outcomes.map((o, i) => [i, o.name]))
options("layer", Object.entries(facts.layers))
get("outcome_row").style.display = outcomes.length > 1 ? "" : "none"
Object.assign(get("month"), { max: months.length - 1, value: months.length - 1 })
Object.assign(get("lead"), { max: leads.length - 1, value: 0 })
Object.assign(get("threshold"), { max: facts.thresholds.length - 1, value: Math.max(0, facts.thresholds.findIndex((t) => t >= facts.threshold[0][0] - 1e-9)) })
unpack().then((all) => {
  const read = reader(all)
  const parts = build()
  listen(read, parts)
  draw(read, parts)
})
