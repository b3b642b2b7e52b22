// The fields beside the map. `inputs` are known by name; what a field sets is in viewer.state.
const PLAY_MS = 700
const controlsOf = (viewer) => {
  const { facts } = viewer
  const kept = { inputs: {}, outputs: {}, gaps: {}, players: {} } // by name, as the inputs
  const make = fieldsOf(viewer, kept)
  const compare = compareOf(viewer, make)
  const fields = [
    ...layerFields(viewer, make, compare), ...facts.dims.filter((d) => !d.hidden).map((d) => dimField(viewer, make, kept, d)),
    ...rangeFields(viewer, make), ...checkFields(viewer, make), ...compare.fields,
  ]
  const destroy = () => Object.values(kept.players).forEach(clearInterval)
  return { make, fields, compare, inputs: kept.inputs, sync: () => syncControls(viewer, kept), destroy }
}
const fieldsOf = ({ id }, { inputs, outputs }) => { // what makes a field of any kind
  const known = (name, input) => Object.assign((inputs[name] = input), { id: `${id}-${name}` })
  const field = (name, words, input, ...more) => h("div", { class: `field ${more.length ? "" : "wide"}`, "data-control": name },
    h("label", { for: known(name, input).id }, words), input, ...more)
  const range = (attributes, set) =>
    h("input", { type: "range", ...attributes, oninput: (event) => set(Number(event.target.value)) })
  const output = (name) => (outputs[name] = h("output", { for: `${id}-${name}` }))
  const choice = (name, words, options, value, set) => {
    const nodes = options.map(([v, label]) => h("option", { value: v, selected: String(v) === String(value) }, label))
    return field(name, words, h("select", { onchange: (event) => set(event.target.value) }, nodes))
  }
  const check = (name, words, value, set) => {
    const input = h("input", { type: "checkbox", checked: value, onchange: () => set(input.checked) })
    return h("div", { class: "check", "data-control": name }, known(name, input), h("label", { for: input.id }, words))
  }
  return { field, range, output, choice, check }
}
const numbered = (labels) => labels.map((label, i) => [i, label])
const titled = (layers) => layers.map((layer) => [layer.name, layer.title])
const picturesOf = ({ layers }) => layers.filter((l) => l.shown && l.kind !== "error")

// ---- the fields ----
const layerFields = (viewer, { choice }, compare) => {
  const { facts, state } = viewer
  const [places, hasImage] = [facts.places, picturesOf(facts).some((l) => l.kind === "image")]
  const setTop = (name) => {
    state.top = name
    compare.build()
    viewer.refresh()
    viewer.regions.tell()
  }
  const setBelow = (name) => {
    state.below = name
    viewer.refresh()
  }
  const [tops, none] = [facts.layers.filter((l) => l.shown && (l.kind !== "image" || l.name !== facts.below)), [["", "nothing"]]]
  return [
    places.length > 1 && choice("place", facts.place_is ?? "source", numbered(places.map((p) => p.name)), state.place,
      (v) => viewer.goPlace(Number(v))),
    hasImage && choice("below", "below", [...none, ...titled(picturesOf(facts))], state.below, setBelow),
    choice("top", hasImage ? "on top" : "layer", [...(hasImage ? none : []), ...titled(tops)], state.top, setTop),
  ].filter(Boolean)
}
const dimField = (viewer, make, kept, dim) => {
  const { name, slider } = dim
  const [title, labels] = [dim.title || name, viewer.labels(name)]
  const set = (v) => viewer.moveTo({ [name]: Number(v) })
  if (!slider) return make.choice(name, title, numbered(labels), dim.start, set)
  const input = make.range({ min: 0, max: labels.length - 1, step: 1, value: dim.start }, set)
  const start = () => play(viewer, kept.players, dim, playButton)
  const playButton = button("▶", start, { class: "play", "aria-label": `play ${title}` })
  const gaps = (kept.gaps[name] = h("div", { class: "gaps", "aria-hidden": "true" }))
  return h("div", {}, make.field(name, title, input, h("span", { class: "value" }, playButton, make.output(name))), gaps)
}
const play = (viewer, players, { name, title }, playButton) => {
  const playing = !players[name]
  playButton.textContent = playing ? "❚❚" : "▶"
  playButton.setAttribute("aria-label", `${playing ? "pause" : "play"} ${title || name}`)
  const stop = () => {
    clearInterval(players[name])
    delete players[name]
  }
  const next = () => viewer.moveTo({ [name]: (viewer.state.at[name] + 1) % viewer.labels(name).length })
  const step = () => {
    if (!viewer.root.isConnected) stop()
    else if (!viewer.root.dataset.busy) next()
  }
  if (playing) players[name] = setInterval(step, PLAY_MS)
  else stop()
}
const rangeFields = (viewer, { field, range, output }) => {
  const { facts, state } = viewer
  const { steps, title } = facts.threshold
  const setOpacity = (v) => {
    state.opacity = v
    viewer.controls.sync()
    viewer.map.repaint()
  }
  const setThreshold = (v) => {
    state.threshold = v
    viewer.refresh()
  }
  const hasImage = picturesOf(facts).some((l) => l.kind === "image")
  const opacity = range({ min: 0, max: 1, step: 0.05, value: state.opacity }, setOpacity)
  const threshold = range({ min: 0, max: (steps?.length ?? 1) - 1, step: 1 }, setThreshold)
  return [
    hasImage && field("opacity", "opacity", opacity, output("opacity")),
    steps && field("threshold", title ?? "at least", threshold, output("threshold")),
  ].filter(Boolean)
}
const checkFields = (viewer, { check }) => {
  const { facts, state } = viewer
  const flag = (name) => (value) => {
    state[name] = value
    viewer.refresh()
  }
  const hide = (set) => (value) => {
    set.shown = value
    viewer.map.repaint()
  }
  return [
    ...(facts.outlined.length ? [check("outlined", facts.outlined[0], true, flag("outlined"))] : []),
    ...(facts.outlines ?? []).map((set, i) => check(`outlines-${i}`, set.title, true, hide(set))),
    ...(facts.groups ? [check("group", `mean of each ${facts.group_is ?? "part"}`, false, flag("group"))] : []),
  ]
}

// ---- what they show, and which of them do anything now ----
const syncControls = (viewer, kept) => {
  const { facts, state, layer } = viewer
  const { inputs, outputs } = kept
  const used = usedDims(viewer)
  for (const dim of facts.dims.filter(({ name }) => inputs[name])) syncDim(viewer, kept, dim, used.has(dim.name))
  for (const name of ["below", "top", "place", "threshold"]) if (inputs[name]) inputs[name].value = state[name]
  const [top, other] = [layer(state.top), state.compare === "off" ? null : layer(state.other.layer)]
  if (inputs.threshold) {
    const warns = top?.kind === "error" && layer(top.of[0]).kind === "numbers"
    inputs.threshold.disabled = !(warns || viewer.hidesBelow(top) || other?.kind === "error")
    outputs.threshold.textContent = figure(viewer.threshold(), layer(facts.threshold.layer))
  }
  if (inputs.opacity) {
    inputs.opacity.disabled = !state.top
    outputs.opacity.textContent = `${Math.round(100 * state.opacity)} %`
  }
  if (inputs.group) inputs.group.disabled = top?.kind !== "numbers"
}
const usedDims = ({ facts, state, layer, dimsOf }) => {
  const names = [state.top, state.below]
  if (state.compare !== "off") names.push(state.other.layer)
  if (facts.outlined.length && state.outlined) names.push(facts.outlined[1])
  const used = new Set(names.flatMap((name) => dimsOf(layer(name))))
  const { table, chart } = facts
  if (state.chosen && !facts.likeness) for (const name of [table?.layer, chart?.layer]) {
    dimsOf(layer(name)).filter((d) => d !== table?.rows && d !== table?.columns).forEach((d) => used.add(d))
  }
  return used
}
const syncDim = (viewer, kept, dim, used) => {
  const [input, labels, at] = [kept.inputs[dim.name], viewer.labels(dim.name), viewer.state.at[dim.name]]
  input.disabled = !used
  input.closest("[data-control]").hidden = labels.length < 2
  if (dim.slider) syncSlider(viewer, kept, dim, labels, at)
  else if (input.options.length !== labels.length || [...input.options].some((o, i) => o.textContent !== labels[i])) {
    input.replaceChildren(...numbered(labels).map(([value, label]) => h("option", { value }, label)))
  }
  input.value = at
}
const syncSlider = (viewer, kept, { name, gaps: own, remarks }, labels, at) => {
  const input = kept.inputs[name]
  const words = [labels[at] ?? "", ...remarks.slice(at, at + 1)].join(" ")
  input.max = labels.length - 1
  input.setAttribute("aria-valuetext", words)
  kept.outputs[name].textContent = words
  const gaps = viewer.place().gaps[name] ?? own
  kept.gaps[name].replaceChildren(...gaps.map((g) => {
    const left = (100 * (g - 0.5)) / Math.max(1, labels.length - 1)
    return h("i", { style: `left:${left}%`, title: `nothing between ${labels[g - 1]} and ${labels[g]}` })
  }))
  input.title = gaps.length ? `${gaps.length} gap${gaps.length > 1 ? "s" : ""} in time, marked below the slider` : ""
}
