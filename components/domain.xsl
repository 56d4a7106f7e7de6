<?xml version="1.0"?>
<!-- What pulumi-libvirt cannot say of a domain. components/stylesheet.py sets the variables of a node. -->
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
  <xsl:output omit-xml-declaration="yes" indent="yes"/>
  <xsl:variable name="uuid"/>
  <xsl:variable name="stack"/>
  <xsl:variable name="node"/>
  <xsl:variable name="pool"/>
  <xsl:variable name="cache"/>
  <xsl:variable name="translations"/>

  <xsl:template match="node()|@*">
    <xsl:copy><xsl:apply-templates select="node()|@*"/></xsl:copy>
  </xsl:template>

  <!-- A uuid of its own keeps the machine-id over rebuilds; the metadata says whose domain this is. -->
  <xsl:template match="/domain">
    <xsl:copy>
      <xsl:apply-templates select="@*"/>
      <xsl:apply-templates select="name"/>
      <uuid><xsl:value-of select="$uuid"/></uuid>
      <metadata>
        <halab:owner xmlns:halab="urn:halab:owner" stack="{$stack}" node="{$node}"/>
      </metadata>
      <xsl:apply-templates select="node()[not(self::name)]"/>
    </xsl:copy>
  </xsl:template>

  <!-- Under emulation: MiB for translated code, which qemu otherwise takes up to a gigabyte for. -->
  <xsl:template match="/domain[@type='qemu']/features">
    <xsl:copy>
      <xsl:apply-templates select="node()|@*"/>
      <xsl:if test="$translations != ''">
        <tcg><tb-cache unit="MiB"><xsl:value-of select="$translations"/></tb-cache></tcg>
      </xsl:if>
    </xsl:copy>
  </xsl:template>

  <!-- Under emulation: the oldest model with AES, which the ring, TLS and SSH spend much of their time in. -->
  <xsl:template match="/domain[@type='qemu']/cpu">
    <cpu mode="custom" match="exact" check="none"><model fallback="forbid">Westmere</model></cpu>
  </xsl:template>

  <!-- AppArmor's helper resolves files, not volumes. -->
  <xsl:template match="/domain/devices/disk[@type='volume']/@type"><xsl:attribute name="type">file</xsl:attribute></xsl:template>
  <xsl:template match="/domain/devices/disk/source[@volume]"><source file="{$pool}/{@volume}"/></xsl:template>
  <xsl:template match="/domain/devices/disk[@device='disk']/driver">
    <xsl:copy>
      <xsl:apply-templates select="@*"/>
      <xsl:attribute name="cache"><xsl:value-of select="$cache"/></xsl:attribute>
      <xsl:attribute name="discard">unmap</xsl:attribute>
    </xsl:copy>
  </xsl:template>

  <!-- The serial console is all there is to see of a node, and stays readable after it. -->
  <xsl:template match="/domain/devices/graphics|/domain/devices/video|/domain/devices/channel"/>
  <xsl:template match="/domain/devices/console">
    <xsl:copy>
      <xsl:apply-templates select="@*"/>
      <log file="/var/log/libvirt/qemu/{/domain/name}-console.log" append="on"/>
      <xsl:apply-templates select="node()"/>
    </xsl:copy>
  </xsl:template>
  <xsl:template match="/domain/devices">
    <xsl:copy>
      <xsl:apply-templates select="node()|@*"/>
      <controller type="usb" model="none"/>
      <memballoon model="none"/>
    </xsl:copy>
  </xsl:template>
</xsl:stylesheet>
