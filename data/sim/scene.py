"""MJCF text of the table, the lights, the cameras and the two arms; a task adds its objects.

Owns strings only. Primitives throughout: no mesh, no asset file. Shadows and multisampling stay off, because the
software rasterisers pay 20 times the price for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from data.sim import arms

CAMERAS = ("cam_high", "cam_left_wrist", "cam_right_wrist")
SLOTS_PER_GRIPPER = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneParts:
    """What a task adds to the bench."""

    objects: str
    """Bodies of the world (a flexcomp, hinged panels, ...)."""
    grasp_body: str
    """Any body that may be grasped: the attach constraints are declared against it and retargeted at run time."""
    timestep_s: float
    """Physics step, a divisor of the control period."""
    equality: str = ""
    """Further constraints."""
    assets: str = ""
    """Materials and textures."""


def scene_xml(parts: SceneParts) -> str:
    """The whole model of one task as MJCF text."""
    return f"""<mujoco model="recap_bench">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{parts.timestep_s}" integrator="implicitfast" solver="Newton" iterations="20" tolerance="1e-5"/>
  <visual>
    <quality offsamples="0" shadowsize="0"/>
    <global offwidth="1024" offheight="1024"/>
    <headlight ambient=".42 .42 .42" diffuse=".16 .16 .16" specular="0 0 0"/>
    <map znear=".02" zfar="10"/>
  </visual>
  <asset>
    <material name="table" rgba=".80 .74 .64 1" specular="0" shininess="0"/>
    <material name="floor" rgba=".30 .31 .34 1" specular="0" shininess="0"/>
    <material name="link" rgba=".36 .38 .42 1" specular="0" shininess="0"/>
    <material name="joint" rgba=".16 .17 .20 1" specular="0" shininess="0"/>
    <material name="left_tool" rgba=".93 .49 .13 1" specular="0" shininess="0"/>
    <material name="right_tool" rgba=".20 .62 .36 1" specular="0" shininess="0"/>
    {parts.assets}
  </asset>
  <default>
    <default class="arm">
      <joint armature=".1" damping="4"/>
      <geom contype="0" conaffinity="0" group="1" material="link"/>
      <position kp="500" kv="36" forcerange="-150 150"/>
    </default>
    <default class="finger">
      <joint type="slide" armature=".05" damping="2" range="0 {arms.FINGER_TRAVEL_M}"/>
      <geom contype="0" conaffinity="0" group="1"/>
      <position kp="150" kv="9" forcerange="-20 20"/>
    </default>
  </default>
  <worldbody>
    <light name="key" type="directional" pos="-.5 -.3 1.5" dir=".55 .38 -.75" castshadow="false"
      ambient="0 0 0" diffuse=".62 .62 .60" specular="0 0 0"/>
    <geom name="table" type="plane" size=".62 .50 .1" pos="0 .02 0" material="table" friction="1 .005 .0001"
      contype="3" conaffinity="3"/>
    <geom name="floor" type="plane" size="3 3 .1" pos="0 0 -.55" material="floor" contype="0" conaffinity="0"/>
    <camera name="cam_high" mode="fixed" pos="0 -.12 .76" xyaxes="1 0 0 0 .985 .174" fovy="42"/>
    <camera name="front" mode="fixed" pos="0 1.02 .72" xyaxes="-1 0 0 0 -.56 .83" fovy="46"/>
    {_arm(0)}
    {_arm(1)}
    {parts.objects}
  </worldbody>
  <actuator>
    {_actuators(0)}
    {_actuators(1)}
  </actuator>
  <equality>
    {_slots(parts.grasp_body)}
    {parts.equality}
  </equality>
</mujoco>"""


def _arm(side: int) -> str:
    name = arms.SIDES[side]

    def joint(index: int, axis: str) -> str:
        low, high = arms.JOINT_RANGE_RAD[index]
        return f'<joint name="{name}_{arms.JOINTS[index]}" axis="{axis}" range="{low} {high}"/>'

    palm = 0.055
    tip = arms.TOOL_M - palm
    # The wrist camera sits behind the palm and looks at the finger tips.
    tilt = math.radians(24.0)
    camera = f'xyaxes="1 0 0 0 {-math.sin(tilt):.6f} {math.cos(tilt):.6f}"'
    return f"""
    <body name="{name}_base" pos="{arms.base_x(side)} {arms.BASE_Y_M} 0" childclass="arm" gravcomp="1">
      <geom type="cylinder" fromto="0 0 0 0 0 {arms.SHOULDER_Z_M - 0.03}" size=".045" material="joint" mass="2"/>
      <body name="{name}_l1" pos="0 0 {arms.SHOULDER_Z_M}" gravcomp="1">
        {joint(0, "0 0 1")}
        <geom type="cylinder" fromto="-.045 0 0 .045 0 0" size=".042" material="joint" mass=".6"/>
        <body name="{name}_l2" gravcomp="1">
          {joint(1, "1 0 0")}
          <geom type="capsule" fromto="0 0 0 0 {arms.UPPER_M} 0" size=".028" mass=".6"/>
          <body name="{name}_l3" pos="0 {arms.UPPER_M} 0" gravcomp="1">
            {joint(2, "1 0 0")}
            <geom type="cylinder" fromto="-.036 0 0 .036 0 0" size=".034" material="joint" mass=".2"/>
            <geom type="capsule" fromto="0 0 0 0 {arms.FOREARM_M} 0" size=".022" mass=".35"/>
            <body name="{name}_l4" pos="0 {arms.FOREARM_M} 0" gravcomp="1">
              {joint(3, "1 0 0")}
              <geom type="sphere" size=".026" material="joint" mass=".1"/>
              <body name="{name}_l5" gravcomp="1">
                {joint(4, "0 0 1")}
                <geom type="capsule" fromto="0 .01 0 0 {palm - 0.01} 0" size=".016" mass=".08"/>
                <body name="{name}_l6" pos="0 {palm} 0" gravcomp="1">
                  {joint(5, "0 1 0")}
                  <geom type="box" size=".032 .010 .014" pos="0 0 0" material="{name}_tool" mass=".1"/>
                  <!-- In a body of its own: mj_multiRay overlooks a body that has a geom in a hidden group. -->
                  <body pos="0 {tip} 0" gravcomp="1">
                    <geom name="{name}_stop" type="sphere" size=".004" mass=".001" contype="2" conaffinity="0"
                      condim="1" rgba="0 0 0 0" group="4"/>
                  </body>
                  <site name="{name}_tcp" pos="0 {tip} 0" size=".004" group="4"/>
                  <camera name="cam_{name}_wrist" pos="0 -.035 -.085" {camera} fovy="70"/>
                  {_finger(name, "a", 1, tip)}
                  {_finger(name, "b", -1, tip)}
                </body>
              </body>
            </body>
          </body>
        </body>
      </body>
    </body>"""


def _finger(arm: str, name: str, sign: int, tip: float) -> str:
    return f"""<body name="{arm}_finger_{name}" childclass="finger" gravcomp="1">
                    <joint name="{arm}_finger_{name}" axis="{sign} 0 0"/>
                    <geom type="box" size=".0045 {tip / 2} .008" pos="{sign * 0.0055} {tip / 2} 0"
                      material="{arm}_tool" mass=".03"/>
                  </body>"""


def _actuators(side: int) -> str:
    name = arms.SIDES[side]
    rows = []
    for index, joint in enumerate(arms.JOINTS):
        low, high = arms.JOINT_RANGE_RAD[index]
        rows.append(f'<position class="arm" joint="{name}_{joint}" ctrlrange="{low} {high}"/>')
    rows += [
        f'<position class="finger" joint="{name}_finger_{finger}" ctrlrange="0 {arms.FINGER_TRAVEL_M}"/>'
        for finger in ("a", "b")
    ]
    return "\n    ".join(rows)


def _slots(body: str) -> str:
    return "\n    ".join(
        f'<connect name="{name}_slot_{slot}" body1="{name}_l6" body2="{body}" anchor="0 0 0" active="false"/>'
        for name in arms.SIDES
        for slot in range(SLOTS_PER_GRIPPER)
    )
