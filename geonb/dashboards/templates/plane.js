// Samples in the plane: hovering shows a tile, a lasso or a letter selects, and what is selected goes out as a table.
const { facts } = JSON.parse(document.getElementById("facts").textContent)
const root = document.getElementById("explorer")
const { points, kinds, colours, table, columns, tiles } = facts // points [x, y], kinds [letter], tiles data URIs
const canvas = h("canvas", { class: "map", tabindex: 0, role: "img", "aria-describedby": "keys" })
const card = h("div", { class: "about", "aria-live": "polite" }, "Point at a sample for its tile. Drag around samples to select them.")
const chosenBox = h("div", { class: "about", "aria-live": "polite" })
const hidden = new Set()
let [selected, size, lasso, near] = [new Set(), [600, 450], null, -1]
const SHAPES = { circle: (p, x, y, r) => p.arc(x, y, r, 0, 7), square: (p, x, y, r) => p.rect(x - r, y - r, 2 * r, 2 * r), up: (p, x, y, r) => { p.moveTo(x, y - r * 1.2); p.lineTo(x + r * 1.1, y + r); p.lineTo(x - r * 1.1, y + r); p.closePath() }, diamond: (p, x, y, r) => { p.moveTo(x, y - r * 1.3); p.lineTo(x + r * 1.3, y); p.lineTo(x, y + r * 1.3); p.lineTo(x - r * 1.3, y); p.closePath() } }
const names = Object.keys(colours)
const shapeOf = (kind) => Object.values(SHAPES)[names.indexOf(kind) % 4] // a mark beside each colour
const extent = [0, 1].map((a) => [Math.min(...points.map((p) => p[a])), Math.max(...points.map((p) => p[a]))])
const place = ([x, y]) => {
  const share = [x, y].map((v, a) => (v - extent[a][0]) / (extent[a][1] - extent[a][0] || 1))
  return [20 + share[0] * (size[0] - 40), size[1] - 20 - share[1] * (size[1] - 40)]
}
const shown = (i) => !hidden.has(kinds[i])
const draw = () => {
  const k = pixelRatio()
  const pen = canvas.getContext("2d")
  pen.setTransform(k, 0, 0, k, 0, 0)
  pen.fillStyle = "#fff"; pen.fillRect(0, 0, ...size)
  points.forEach((p, i) => {
    if (!shown(i)) return
    const [x, y] = place(p)
    pen.globalAlpha = selected.size && !selected.has(i) ? 0.25 : 0.9
    pen.beginPath(); shapeOf(kinds[i])(pen, x, y, i === near ? 7 : 4.5)
    pen.fillStyle = colours[kinds[i]]; pen.fill()
    if (i === near || selected.has(i)) { pen.strokeStyle = "#111"; pen.lineWidth = 1.2; pen.stroke() }
  })
  pen.globalAlpha = 1
  if (lasso?.length > 1) { pen.strokeStyle = "#111"; pen.setLineDash([5, 3]); pen.beginPath(); lasso.forEach((p, i) => pen[i ? "lineTo" : "moveTo"](...p)); pen.stroke(); pen.setLineDash([]) }
  canvas.setAttribute("aria-label", `${points.length} samples in the plane, in ${names.length} kinds; ${selected.size} selected`)
}
const about = (i) => { const row = table[i]; return columns.map((c, j) => (["kind", "label", "split", "time", "place", "source"].includes(c) && row[j] !== "" ? row[j] : null)).filter((v) => v !== null).join(", ") }
const point = (i) => {
  near = i
  draw()
  if (i < 0) return
  card.replaceChildren(h("img", { src: tiles[i], alt: `tile of sample ${i + 1}`, style: "width:150px;image-rendering:pixelated;display:block;border:3px solid " + colours[kinds[i]] }), h("div", {}, about(i)))
}
const select = (rows) => {
  selected = new Set(rows)
  draw()
  const counts = names.map((n) => [n, [...selected].filter((i) => kinds[i] === n).length]).filter(([, n]) => n)
  chosenBox.replaceChildren(...(selected.size ? [h("b", {}, `${selected.size} selected: `), counts.map(([n, c]) => `${n} ${c}`).join(", "),
    h("div", { class: "tiles" }, ...[...selected].slice(0, 24).map((i) => h("img", { src: tiles[i], alt: about(i), title: about(i), style: "width:56px;height:56px;image-rendering:pixelated;border:2px solid " + colours[kinds[i]] }))),
    h("div", { class: "row" }, button("table as CSV", save), button("clear", () => select([]))),
    h("div", { class: "pale" }, "Put the file into the run's folder and give its name as `selection` of notebook 06: the map then outlines these samples.")] : []))
  document.documentElement.dataset.geonb = `${selected.size} of ${points.length}`
}
const save = () => {
  const rows = [...selected].sort((a, b) => a - b).map((i) => table[i])
  download(root, "selection.csv", csv([columns, ...rows]), "text/csv")
}
const at = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top] }
canvas.addEventListener("pointerdown", (event) => { lasso = [at(event)]; canvas.setPointerCapture(event.pointerId) })
canvas.addEventListener("pointermove", (event) => {
  const here = at(event)
  if (lasso) { lasso.push(here); return draw() }
  const far = points.map((p, i) => { const [x, y] = place(p); return shown(i) ? Math.hypot(x - here[0], y - here[1]) : Infinity })
  const best = far.indexOf(Math.min(...far))
  const next = far[best] < 14 ? best : -1
  if (next !== near) point(next)
})
canvas.addEventListener("pointerup", () => {
  const line = lasso
  lasso = null
  if (line?.length > 6) select(points.map((p, i) => i).filter((i) => shown(i) && within(line, ...place(points[i]))))
  else draw()
})
canvas.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key]
  if (step) { event.preventDefault(); point((near + step + points.length) % points.length) }
  else if (event.key === "Enter" && near >= 0) { const next = new Set(selected); if (!next.delete(near)) next.add(near); select(next) }
  else if (event.key === "Escape") select([])
})
const letters = h("div", { class: "row", role: "group", "aria-label": "kinds" })
for (const kind of names) {
  const rows = points.map((_, i) => i).filter((i) => kinds[i] === kind)
  const hide = h("input", { type: "checkbox", "aria-label": `show kind ${kind}`, onchange: () => { hide.checked ? hidden.delete(kind) : hidden.add(kind); draw() } })
  hide.checked = true
  const look = { title: "select all of this kind", style: `border-bottom:4px solid ${colours[kind]}` }
  letters.append(h("span", { class: "chip" }, hide, button(`${kind === facts.noise ? "none" : kind} ${rows.length}`, () => select(rows), look)))
}
root.classList.add("geonb-explorer")
root.append(h("div", { class: "left" }, h("div", { class: "frame" }, canvas), Object.assign(h("div", { class: "notes" }), { innerHTML: facts.notes })),
  h("div", { class: "right" }, h("div", {}, "Kinds, the leaves of the dendrogram: a click on one selects all of it."), letters, card, chosenBox, h("div", { class: "pale", id: "keys" }, "Keys on the plane: arrows go from sample to sample, Enter selects one or lets it go, Escape clears.")))
const resize = () => {
  const width = canvas.parentElement.clientWidth
  if (Math.abs(width - size[0]) < 1 && canvas.style.width) return
  size = [width, Math.round(Math.min(560, width * 0.72))]
  Object.assign(canvas, { width: size[0] * pixelRatio(), height: size[1] * pixelRatio() })
  Object.assign(canvas.style, { width: `${size[0]}px`, height: `${size[1]}px` })
  draw()
}
new ResizeObserver(resize).observe(canvas.parentElement)
resize()
document.documentElement.dataset.geonb = `0 of ${points.length}`
asHighAsItsPage(outerFrame())
