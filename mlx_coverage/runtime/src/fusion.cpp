#include "fusion.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "functions.h"

namespace mlx_coverage {

namespace {

template <typename Visit>
void visit_slots(const Argument& argument, Tag tag, Visit visit) {
  if (argument.tag == tag) {
    visit(static_cast<uint32_t>(argument.integer));
  }
  for (const auto& item : argument.items) {
    visit_slots(item, tag, visit);
  }
}

template <typename Visit>
void visit_slots(const Step& step, Tag tag, Visit visit) {
  for (const auto& argument : step.arguments) {
    visit_slots(argument, tag, visit);
  }
}

// A host number would be frozen in what is compiled.
bool is_elementwise(const Step& step) {
  bool has_numbers = false;
  visit_slots(step, Tag::number, [&](uint32_t) { has_numbers = true; });
  return step.function->elementwise && step.results.size() == 1 && !has_numbers;
}

// For each step the last step of its group, which may be itself.
std::vector<size_t> find_roots(const Program& program) {
  const size_t count = program.steps.size();
  // The one group that reads a slot; none where there are several, or readers of another kind.
  std::vector<std::optional<size_t>> reader(program.array_slots);
  std::vector<bool> is_shared(program.array_slots);
  for (const auto& output : program.outputs) {
    if (output.kind == Kind::tensor) {
      is_shared[output.slot] = true;
    }
  }
  for (const auto& update : program.updates) {
    is_shared[update.slot] = true;
  }
  std::vector<size_t> roots(count);
  for (size_t i = count; i-- > 0;) {
    const Step& step = program.steps[i];
    roots[i] = i;
    const bool joins = is_elementwise(step);
    if (joins && !is_shared[step.results[0]] && reader[step.results[0]]) {
      roots[i] = *reader[step.results[0]];
    }
    visit_slots(step, Tag::array, [&](uint32_t slot) {
      if (!joins || (reader[slot] && *reader[slot] != roots[i])) {
        is_shared[slot] = true;
      }
      reader[slot] = roots[i];
    });
  }
  return roots;
}

Group describe(const Program& program, size_t first, size_t last) {
  Group group{first, last, {}, program.steps[last - 1].results[0]};
  std::vector<uint32_t> made;
  const auto holds = [](const std::vector<uint32_t>& slots, uint32_t slot) {
    return std::find(slots.begin(), slots.end(), slot) != slots.end();
  };
  for (size_t i = first; i < last; ++i) {
    visit_slots(program.steps[i], Tag::array, [&](uint32_t slot) {
      if (!holds(made, slot) && !holds(group.inputs, slot)) {
        group.inputs.push_back(slot);
      }
    });
    made.push_back(program.steps[i].results[0]);
  }
  return group;
}

} // namespace

std::vector<Group> group_elementwise(Program& program) {
  const std::vector<size_t> roots = find_roots(program);
  std::vector<std::vector<size_t>> members(roots.size());
  for (size_t i = 0; i < roots.size(); ++i) {
    members[roots[i]].push_back(i);
  }
  std::vector<Step> steps;
  std::vector<std::pair<size_t, size_t>> ranges;
  for (size_t root = 0; root < roots.size(); ++root) {
    const size_t first = steps.size();
    for (const size_t i : members[root]) {
      steps.push_back(std::move(program.steps[i]));
      steps.back().released.clear();
    }
    if (members[root].size() > 1) {
      ranges.emplace_back(first, steps.size());
    }
  }
  program.steps = std::move(steps);
  program.release_slots();
  std::vector<Group> groups;
  for (const auto& [first, last] : ranges) {
    groups.push_back(describe(program, first, last));
  }
  return groups;
}

} // namespace mlx_coverage
