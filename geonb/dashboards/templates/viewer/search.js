// "go to": a name of the list, latitude and longitude, coordinates, or a cell's number.
const searchOf = (viewer, make) => {
  const { facts, id } = viewer
  const list = h("datalist", { id: `${id}-names` })
  const names = () => [
    ...facts.places.map((place, i) => [place.name, place.bounds, i]),
    ...facts.places.flatMap((place, i) => Object.entries(place.names).map(([name, bounds]) => [name, bounds, i])),
  ]
  const fill = () => list.replaceChildren(...names().map(([name]) => h("option", { value: name })))
  const find = (asked) => {
    const low = asked.trim().toLowerCase()
    const is = (test) => names().find(([name]) => low && test(name.toLowerCase()))
    return is((name) => name === low) ?? is((name) => name.startsWith(low))
  }
  const goTo = (asked) => {
    const found = find(asked)
    if (found) return goToName(viewer, ...found)
    const at = positionOf(viewer.place(), asked)
    if (at && cellAt(clickedGrid(viewer.place()), ...at)) return goToPosition(viewer, at)
    const number = viewer.place().ids ? `, a ${viewer.place().ids[0]} number` : ""
    viewer.boxes.under.textContent = `"${asked}" is not here. Known: a name of the list, "latitude, longitude"${number}.`
  }
  const input = h("input", {
    type: "search", list: list.id, placeholder: "place, lat, lon",
    onkeydown: (event) => { if (event.key === "Enter") goTo(input.value) },
    onchange: () => { if (names().some(([name]) => name === input.value)) goTo(input.value) },
  })
  return { fill, fields: [make.field("search", "go to", input), list] }
}
const goToName = (viewer, name, bounds, place) => {
  const { facts, state, map, regions } = viewer
  if (place !== state.place) viewer.goPlace(place)
  map.look(zoomed(bounds, 1.1, middleOf(bounds)))
  const group = facts.groups ? viewer.layer(facts.groups).labels.indexOf(name) : -1
  if (group >= 0) regions.choose({ group, name })
}
const goToPosition = (viewer, at) => {
  const { bounds } = viewer.place()
  const share = Math.min(1, 60 / clickedGrid(viewer.place()).shape[1])
  viewer.map.look(boxAround(at, sizeOf(bounds).map((size) => size * share)))
  viewer.choose(...at)
}
